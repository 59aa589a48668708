"""What ONNX Runtime refuses, in the service's words."""

import pytest
from onnxruntime.capi import onnxruntime_pybind11_state as state
from support.onnx.text import model

from convpress.refusal import Code, Refusal
from worker.engine.formats.onnx.runtime.session import message, refused, session

FAILURE = (
    "[ONNXRuntimeError] : 1 : FAIL : /build/onnxruntime_src/core/graph.cc:12 Node () \n"
    "has   no type"
)


def test_a_message_is_one_line_without_places_in_the_source():
    assert message(RuntimeError(FAILURE)) == "Node () has no type"
    assert len(message(RuntimeError("x" * 999))) == 300


def test_a_session_runs_the_model(tmp_path):
    proto = model("g (float[2] x) => (float[2] y) { y = Neg(x) }")
    opened = session(proto.SerializeToString(), tmp_path / "model.onnx")
    (output,) = opened.get_outputs()
    assert output.name == "y"


def test_bytes_that_are_no_model_are_refused(tmp_path):
    with pytest.raises(Refusal, match="cannot load") as caught:
        session(b"\xff", tmp_path / "model.onnx")
    assert caught.value.code == Code.MODEL_INVALID


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RuntimeError(FAILURE), Code.MODEL_INVALID),
        (state.NotImplemented(FAILURE), Code.MODEL_UNSUPPORTED),
        (
            RuntimeError("com.acme:Mix(-1) is not a registered function/op"),
            Code.MODEL_UNSUPPORTED,
        ),
        # an unknown operator of ONNX's own domain is a mistake of the model
        (
            RuntimeError("ai.onnx:Mix(-1) is not a registered function/op"),
            Code.MODEL_INVALID,
        ),
    ],
)
def test_an_error_is_a_refusal_of_its_kind(error, code):
    assert refused("run", error).code == code


@pytest.mark.parametrize(
    ("domain", "words"),
    [("acme", "a custom operator"), ("ai.onnx.contrib", "extensions")],
)
def test_an_unknown_operator_is_named_with_its_origin(domain, words):
    error = RuntimeError(f"{domain}:Mix(-1) is not a registered function/op")
    refusal = refused("load", error)
    assert words in refusal.detail
    assert refusal.got == f"{domain}::Mix"


def test_exhausted_memory_is_an_error_of_its_own():
    with pytest.raises(MemoryError):
        refused("run", RuntimeError("Failed to allocate memory for 8 bytes"))
