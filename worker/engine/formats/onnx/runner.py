"""Run ONNX models in ONNX Runtime."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from worker.engine.formats.onnx.dilated_padding import write_pads_of_dilated
from worker.engine.formats.onnx.session import RUNTIME_ERRORS, refused, session
from worker.engine.formats.onnx.storage.skeleton import skeleton
from worker.engine.model import Inputs, Runner


def load(path: Path) -> Runner:
    """Load the model at `path`, to be run on one thread.

    Raises:
        Refusal: `model_invalid` where the runtime refuses the file, now or when it is run.
    """
    opened = session(_runnable(skeleton(path)), path)
    names = [output.name for output in opened.get_outputs()]

    def run(inputs: Inputs) -> dict[str, NDArray[np.generic]]:
        try:
            results = opened.run(names, dict(inputs))
        except RUNTIME_ERRORS as error:
            raise refused("run", error) from error
        return dict(zip(names, results, strict=True))

    return run


def _runnable(serialised: bytes) -> bytes:
    """Return a skeleton that the runtime takes: with the pads of dilated SAME convolutions."""
    if b"SAME_" not in serialised:
        return serialised
    model = ModelProto.FromString(serialised)
    return model.SerializeToString() if write_pads_of_dilated(model) else serialised
