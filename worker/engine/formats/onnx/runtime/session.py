"""Sessions of ONNX Runtime, with weights mapped from the model's file."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as state

from convpress.formats import FIELD
from convpress.refusal import Code, Refusal
from worker.engine.formats.onnx.graph import OWN_DOMAINS
from worker.engine.formats.onnx.runtime.session_options import session_options


def _runtime_exceptions() -> Iterator[type[Exception]]:
    # The runtime's exceptions have no common base.
    for value in vars(state).values():
        if isinstance(value, type) and issubclass(value, Exception):
            yield value


# The runtime raises RuntimeError for arrays of a type that it does not accept.
RUNTIME_ERRORS: tuple[type[Exception], ...] = (RuntimeError, *_runtime_exceptions())

_UNKNOWN_OPERATOR = re.compile(
    r"(?P<domain>[\w.]+):(?P<name>\w+)\(-?\d*\) is not a registered function/op"
)
_EXTENSIONS = "ai.onnx.contrib"
_NO_MEMORY = "Failed to allocate memory"
# Characters of the runtime's message that a refusal shows.
_LONGEST_MESSAGE = 300


_QUANTISED = b"DequantizeLinear"


def session(model: bytes, path: Path) -> Any:  # noqa: ANN401 - the runtime ships no types
    """Return a session for a serialised skeleton of the model at `path`.

    Raises:
        Refusal: `model_invalid` where the runtime refuses the model.
    """
    folder = str(path.resolve().parent)
    settings = session_options(prepacked=_QUANTISED in model)
    settings.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", folder
    )
    try:
        return ort.InferenceSession(model, settings, providers=["CPUExecutionProvider"])
    except RUNTIME_ERRORS as error:
        raise refused("load", error) from error


def message(error: Exception) -> str:
    """Return the runtime's message in one line, without places in its source, bounded in length."""
    text = str(error).rpartition("[ONNXRuntimeError]")[2]
    text = re.sub(r"^ : \d+ : \w+ : |\S*onnxruntime_src\S* ", "", text)
    return " ".join(text.split())[:_LONGEST_MESSAGE]


def refused(action: str, error: Exception) -> Refusal:
    """Return the refusal for an error of the runtime.

    Raises:
        MemoryError: the runtime could not get memory.
    """
    # The runtime has no exception of its own for exhausted memory.
    if _NO_MEMORY in str(error):
        raise MemoryError(message(error)) from error
    unknown = _UNKNOWN_OPERATOR.search(str(error))
    if unknown is not None and unknown["domain"] not in OWN_DOMAINS:
        return _unknown_operator(unknown["domain"], unknown["name"])
    is_unsupported = isinstance(error, state.NotImplemented)
    return Refusal(
        Code.MODEL_UNSUPPORTED if is_unsupported else Code.MODEL_INVALID,
        f"ONNX Runtime cannot {action} the model: {message(error)}",
        field=FIELD,
        expected="a model that ONNX Runtime can run",
        got=type(error).__name__,
    )


def _unknown_operator(domain: str, name: str) -> Refusal:
    """Return the refusal of a model with an operator that the runtime does not have."""
    origin = "it is a custom operator"
    if domain == _EXTENSIONS:
        origin = "it is one of onnxruntime-extensions, which is not loaded"
    return Refusal(
        Code.MODEL_UNSUPPORTED,
        f"the model has the operator {name!r} of the domain {domain!r}, which ONNX Runtime does "
        f"not have: {origin}; export the model without it",
        field=FIELD,
        expected="operators of ONNX and of ONNX Runtime",
        got=f"{domain}::{name}",
    )
