"""The runner gives what the whole file gives, and says in our terms what ONNX Runtime refuses."""

import ml_dtypes
import numpy as np
import pytest
from digits import MODELS
from support.onnx.text import model, outputs, written

from convpress.refusal import Code, Refusal
from worker.engine.formats import load_runner


def test_weights_that_stay_in_the_file_give_the_same_outputs():
    path = MODELS / "residual.onnx"
    images = np.random.default_rng(0).random((2, 1, 16, 16), dtype=np.float32)
    runner = load_runner("onnx", path)
    name = next(iter(runner({"image": images})))
    np.testing.assert_array_equal(
        runner({"image": images})[name], outputs(path, {"image": images})[0]
    )


@pytest.mark.parametrize("link", ["symlink_to", "hardlink_to"])
def test_a_linked_file_runs_like_any(tmp_path, link):
    (tmp_path / "there").mkdir()
    path = written(
        tmp_path / "there",
        "g (float[2, 400] x) => (float[2, 400] y) <float[400] w> { y = Add(x, w) }",
    )
    (tmp_path / "here").mkdir()
    getattr(tmp_path / "here" / "linked, file.onnx", link)(path)
    x = np.ones((2, 400), np.float32)
    actual = load_runner("onnx", tmp_path / "here" / "linked, file.onnx")({"x": x})
    np.testing.assert_array_equal(actual["y"], outputs(path, {"x": x})[0])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("g (float[1, 3] x) => (float[1, 3] y) { y = Nonsense(x) }", "Nonsense"),
        ("g (float[1, 3] x) => (float[1, 3] y) { z = Relu(y) y = Relu(z) }", "acyclic"),
    ],
    ids=["unknown operator", "cycle"],
)
def test_what_the_runtime_refuses_to_load_is_an_invalid_model(tmp_path, text, reason):
    with pytest.raises(Refusal, match=reason) as caught:
        load_runner("onnx", written(tmp_path, text))
    assert caught.value.code == "model_invalid"
    assert str(tmp_path) not in caught.value.detail


def test_what_the_runtime_refuses_to_run_is_an_invalid_model(tmp_path, capfd):
    text = "g (float[n, k] x) => (float[n, 5] y) <float[4, 5] w> { y = MatMul(x, w) }"
    with pytest.raises(Refusal, match="mismatch") as caught:
        load_runner("onnx", written(tmp_path, text))({"x": np.ones((1, 3), np.float32)})
    assert caught.value.code == "model_invalid"
    assert len(caught.value.detail) < 400
    assert capfd.readouterr().err == ""


def test_inputs_of_a_type_that_the_runtime_cannot_take_are_an_invalid_model(tmp_path):
    text = "g (bfloat16[2] x) => (bfloat16[2] y) { y = Identity(x) }"
    with pytest.raises(Refusal) as caught:
        load_runner("onnx", written(tmp_path, text))(
            {"x": np.ones(2, ml_dtypes.bfloat16)}
        )
    assert caught.value.code == "model_invalid"


def test_want_of_memory_is_told_apart(tmp_path):
    runner = load_runner(
        "onnx",
        written(
            tmp_path,
            "net (float[1] x, int64[1] n) => (float[k] y) { y = Expand(x, n) }",
        ),
    )
    with pytest.raises(MemoryError):
        runner({"x": np.zeros(1, np.float32), "n": np.array([2**46])})


@pytest.mark.parametrize(
    ("domain", "words"),
    [("acme", "a custom operator"), ("ai.onnx.contrib", "extensions")],
)
def test_an_operator_that_the_runtime_does_not_have_is_named(tmp_path, domain, words):
    text = "g (float[1, 3] x) => (float[1, 3] y) { h = Relu(x) y = Neg(h) }"
    proto = model(text)
    proto.graph.node[1].domain, proto.graph.node[1].op_type = domain, "Mix"
    proto.opset_import.add(domain=domain, version=1)
    with pytest.raises(Refusal, match=words) as refused:
        load_runner("onnx", written(tmp_path, proto))
    assert (refused.value.code, refused.value.got) == (
        Code.MODEL_UNSUPPORTED,
        f"{domain}::Mix",
    )


def test_the_items_of_a_sequence_are_outputs_by_their_places(tmp_path):
    text = (
        "g (float[2, 3] x) => (seq(float[2, 3]) y, float[2, 3] z) "
        "{ n = Neg(x) y = SequenceConstruct(x, n) z = Abs(x) }"
    )
    x = np.array([[1, -2, 3], [-4, 5, -6]], np.float32)
    actual = load_runner("onnx", written(tmp_path, text))({"x": x})
    assert list(actual) == ["y_0", "y_1", "z"]
    np.testing.assert_array_equal(actual["y_1"], -x)


def test_probabilities_by_class_are_an_array_a_class(tmp_path):
    proto = model(
        '<ir_version: 8, opset_import: ["": 17, "ai.onnx.ml": 3]>'
        "g (float[2, 2] x) => (seq(map(string, float)) y) "
        '{ y = ai.onnx.ml.ZipMap <classlabels_strings = ["cat", "dog"]> (x) }'
    )
    x = np.array([[0.25, 0.75], [1, 0]], np.float32)
    actual = load_runner("onnx", written(tmp_path, proto))({"x": x})
    assert {name: array.tolist() for name, array in actual.items()} == {
        "y_cat": [0.25, 1],
        "y_dog": [0.75, 0],
    }
