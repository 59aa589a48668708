"""Running ONNX models: ONNX Runtime on one CPU thread, with the weights mapped from the model's own file."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as state

from convpress.formats import FIELD
from convpress.refusal import Code, Refusal
from worker.engine.formats.onnx.file import skeleton
from worker.engine.model import Inputs, Runner

# The runtime's exceptions have no common base; RuntimeError is for arrays of a type that it cannot take.
RUNTIME_ERRORS: tuple[type[Exception], ...] = (
    RuntimeError,
    *(
        found
        for found in vars(state).values()
        if isinstance(found, type) and issubclass(found, Exception)
    ),
)

_NO_MEMORY = "Failed to allocate memory"
_FATAL_ONLY = 4
_SHOWN = 300


def load(path: Path) -> Runner:
    """Load the model at `path` to be run on one thread.

    Raises:
        Refusal: `model_invalid` where the runtime refuses the file, then or when it is run.
    """
    opened = session(skeleton(path), path)
    names = [output.name for output in opened.get_outputs()]

    def run(inputs: Inputs) -> dict[str, NDArray[np.generic]]:
        try:
            return dict(zip(names, opened.run(names, dict(inputs)), strict=True))
        except RUNTIME_ERRORS as error:
            raise _refused("run", error) from error

    return run


def session(model: bytes, path: Path) -> Any:  # noqa: ANN401 - the runtime ships no types
    """Return a session for a serialised skeleton of the model at `path`.

    Raises:
        Refusal: `model_invalid` where the runtime refuses the model.
    """
    settings = options()
    settings.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", str(path.resolve().parent)
    )
    try:
        return ort.InferenceSession(model, settings, providers=["CPUExecutionProvider"])
    except RUNTIME_ERRORS as error:
        raise _refused("load", error) from error


def options() -> Any:  # noqa: ANN401 - the runtime ships no types
    """Return the settings of every session: one thread, and weights that stay where they are."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = _FATAL_ONLY
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Prepacking copies weights into another layout. For VGG16 that takes 1.7 to 3.1 s and 480 MB that cannot be given
    # back, where the mapped file is ready in 0.1 to 0.2 s; and it makes no convolutional network tried here faster.
    options.add_session_config_entry("session.disable_prepacking", "1")
    return options


def message(error: Exception) -> str:
    """Return what the runtime says, without the places in its own code and in bounded length."""
    said = str(error).rpartition("[ONNXRuntimeError]")[2]
    said = re.sub(r"^ : \d+ : \w+ : |\S*onnxruntime_src\S* ", "", said)
    return " ".join(said.split())[:_SHOWN]


def _refused(action: str, error: Exception) -> Refusal:
    if _NO_MEMORY in str(error):  # the runtime has no exception of its own for this
        raise MemoryError(message(error)) from error
    said = message(error)
    return Refusal(
        Code.MODEL_UNSUPPORTED if isinstance(error, state.NotImplemented) else Code.MODEL_INVALID,
        f"ONNX Runtime cannot {action} the model: {said}",
        field=FIELD,
        expected="a model that ONNX Runtime can run",
        got=type(error).__name__,
    )
