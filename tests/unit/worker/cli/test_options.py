"""Options that several commands share are checked before any work."""

import pytest
import typer

from worker.cli import options


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(b"model")
    return path


def test_labels_are_pairs_and_a_value_may_have_more_of_the_sign():
    assert options.parse_labels(["a=1", "b=", "c=x=y"]) == {
        "a": "1",
        "b": "",
        "c": "x=y",
    }
    assert options.parse_labels([]) == {}
    with pytest.raises(typer.BadParameter, match="name=value"):
        options.parse_labels(["a=1", "b"])


def test_an_output_that_is_not_named_lies_beside_the_model(model):
    target = options.check_targets(None, None, model)
    assert target == model.with_name("net.convpress.onnx")


@pytest.mark.parametrize(
    ("output", "report", "reason"),
    [
        ("net.onnx", None, "overwrite the model"),
        ("link.onnx", None, "overwrite the model"),
        (None, "net.onnx", "overwrite the model"),
        (None, "no/such/report.json", "does not exist"),
        ("same", "same", "it is the output as well"),
        (".", None, "is a folder"),
        ("no/such/folder.onnx", None, "does not exist"),
    ],
)
def test_a_target_that_cannot_be_written_is_refused(model, output, report, reason):
    (model.parent / "link.onnx").hardlink_to(model)
    paths = [name and model.parent / name for name in (output, report)]
    with pytest.raises(typer.BadParameter, match=reason):
        options.check_targets(*paths, model)


def test_budgets_are_named_by_their_fields():
    assert options.budgets_by_field("0.5", None, "", "2ms") == {
        "flops_budget": "0.5",
        "bytes_budget": "",
        "latency_budget": "2ms",
    }
    assert options.budgets_by_field(None, None, None, None) == {}


@pytest.mark.parametrize(
    ("precision", "expected"),
    [(None, False), ("", False), ("auto", False), (" INT8 ", True), ("in8", True)],
)
def test_int8_needs_no_budget_nor_does_what_is_refused(precision, expected):
    assert options.needs_no_budget(precision) is expected
