"""ONNX models for tests, written in ONNX's own text syntax: tensors declared without a value become
random weights.
"""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper, parser


def model(
    text: str, seed: int = 0, header: str = '<ir_version: 8, opset_import: ["": 17]>'
) -> onnx.ModelProto:
    """Parse `text`, a graph in the syntax of onnx.parser, with functions behind it or not."""
    parsed = parser.parse_model(
        text if text.lstrip().startswith("<") else header + text
    )
    generator = np.random.default_rng(seed)
    for value in parsed.graph.value_info:
        tensor = value.type.tensor_type
        shape = [size.dim_value for size in tensor.shape.dim]
        weights = generator.standard_normal(shape).astype(
            helper.tensor_dtype_to_np_dtype(tensor.elem_type)
        )
        parsed.graph.initializer.append(numpy_helper.from_array(weights, value.name))
    parsed.graph.ClearField("value_info")
    return parsed


def written(
    folder: Path, text: str | onnx.ModelProto, name: str = "model.onnx", **options
) -> Path:
    """Write a model, given as text or as it is, and return its path."""
    path = folder / name
    onnx.save(model(text, **options) if isinstance(text, str) else text, path)
    return path


def outputs(path: Path, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Run the whole file as anyone would, without the service's runner."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(
        str(path), options, providers=["CPUExecutionProvider"]
    ).run(None, inputs)


def distance(actual: np.ndarray, expected: np.ndarray) -> float:
    """Return the largest difference, over the largest magnitude that is expected (1 where all is
    zero).
    """
    return float(
        np.abs(actual.astype(np.float64) - expected).max()
        / (np.abs(expected).max() or 1.0)
    )
