"""The file of a quantised ONNX model written anew with its floats."""

from pathlib import Path

from worker.engine.formats.onnx.canonical.dequantise import dequantise
from worker.engine.formats.onnx.graph import DEQUANTISE, all_nodes
from worker.engine.formats.onnx.model import OnnxModel
from worker.engine.formats.onnx.storage import skeleton
from worker.engine.model import Restored


def write_in_float(source: Path, target: Path) -> Restored | None:
    """Write the quantised model at `source` to `target` with its floats.

    None, and no file, where the model is not quantised or its floats are not known.

    Raises:
        Refusal: `model_invalid` where the file cannot be parsed.
    """
    model = skeleton.read(source)
    if not any(node.op_type == DEQUANTISE for node in all_nodes(model.graph.node)):
        return None
    restored = dequantise(model, source)
    if restored is not None:
        OnnxModel(model, source).save(target)
    return restored
