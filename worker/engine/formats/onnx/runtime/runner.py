"""Run ONNX models in ONNX Runtime."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from worker.engine.formats.onnx.dilated_padding import write_pads_of_dilated
from worker.engine.formats.onnx.runtime.session import RUNTIME_ERRORS, refused, session
from worker.engine.formats.onnx.storage.skeleton import skeleton
from worker.engine.model import Inputs, Runner


def load(path: Path) -> Runner:
    """Load the model at `path`, to be run on one thread.

    An output that is a sequence or a map gives several arrays, an optional one none where it is
    empty.

    Raises:
        Refusal: `model_invalid` where the runtime refuses the file, now or when it is run.
    """
    runnable = _runnable(skeleton(path))
    opened = session(runnable, path)
    names = [output.name for output in opened.get_outputs()]

    def run(inputs: Inputs) -> dict[str, NDArray[np.generic]]:
        try:
            results = opened.run(names, dict(inputs))
        except RUNTIME_ERRORS as error:
            raise refused("run", error) from error
        outputs: dict[str, NDArray[np.generic]] = {}
        named_results = zip(names, results, strict=True)
        for name, result in named_results:
            outputs.update(_arrays(name, result))
        return outputs

    return run


def _arrays(name: str, result: Any) -> Iterator[tuple[str, NDArray[np.generic]]]:  # noqa: ANN401 - the runtime ships no types
    """Yield an output as arrays: the items of a sequence by their places, a map by its keys.

    Rows of probabilities by class, as scikit-learn's exporter writes them, are an array a class.

    >>> dict(_arrays("y", [{"cat": 0.5}, {"cat": 0.25}]))
    {'y_cat': array([0.5 , 0.25])}
    """
    if isinstance(result, np.ndarray):
        yield name, result
    elif isinstance(result, dict):
        for key, value in result.items():
            yield f"{name}_{key}", np.asarray(value)
    elif isinstance(result, list) and result and isinstance(result[0], dict):
        for key in result[0]:
            column = [row[key] for row in result]
            yield f"{name}_{key}", np.asarray(column)
    elif isinstance(result, list):
        for place, item in enumerate(result):
            yield from _arrays(f"{name}_{place}", item)


def _runnable(serialised: bytes) -> bytes:
    """Return a skeleton that the runtime takes: with the pads of dilated SAME convolutions."""
    if b"SAME_" not in serialised:
        return serialised
    model = ModelProto.FromString(serialised)
    if write_pads_of_dilated(model):
        return model.SerializeToString()
    return serialised
