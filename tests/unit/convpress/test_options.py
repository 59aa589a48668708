"""Job options: reading a form, the key of an analysis, and the members of a fingerprint."""

from dataclasses import dataclass, fields, replace

import pytest

from convpress.budgets import KINDS
from convpress.client.client import Options
from convpress.options import FIELD_PARSERS, JobOptions
from convpress.refusal import Code, Refusal
from worker.engine.request import Request

PLAIN = JobOptions({"flops_budget": "0.5"})
FULL = JobOptions(
    budgets={"flops_budget": "50%", "params_budget": "2M"},
    flops_at_any_price=True,
    evaluation_sha256="e" * 64,
    evaluation_metric="psnr",
    evaluation_output="mask",
    allow_incomplete_account=True,
    input_shape="1x3x8x8",
    calibration="samples",
    samples_sha256="b" * 64,
    target="x86-avx2",
    threads=4,
    input_range=None,
    input_mean="0.5",
    input_std="0.2",
)
PROMISE = JobOptions({"params_budget": "0.5"}, max_loss="1%")
BUDGETS = {
    "max_loss": "1%",
    "evaluation_sha256": "e" * 64,
    "evaluation_metric": "top-1",
    "evaluation_output": "y",
    "budgets": {"flops_budget": "0.1"},
    "flops_at_any_price": True,
    "allow_incomplete_account": True,
    "precision": "int8",
    "kind": "advice",
    "threads": 2,
}
OTHERS = {
    "target": "x86-avx2",
    "input_shape": "1x3x8x8",
    "calibration": "none",
    "samples_sha256": "b" * 64,
    "input_range": "0,255",
    "input_mean": "0.5",
    "input_std": "0.2",
}


def test_every_option_but_the_budgets_changes_the_analysis_key():
    names = {each.name for each in fields(JobOptions)}
    assert (
        names == BUDGETS.keys() | OTHERS.keys()
    )  # a new option belongs into one of the two
    for name in names:
        changed = replace(PLAIN, **{name: (BUDGETS | OTHERS)[name]})
        assert (changed.analysis_key() == PLAIN.analysis_key()) == (name in BUDGETS), (
            name
        )


@dataclass(frozen=True)
class MoreOptions(JobOptions):
    """Options with one field more, as a later version may have them."""

    effort: str = "usual"


def test_a_new_option_takes_part_in_the_analysis_key_and_changes_no_older_fingerprint():
    plain = MoreOptions(PLAIN.budgets)
    changed = MoreOptions(PLAIN.budgets, effort="more")
    assert plain.analysis_key() != changed.analysis_key()
    assert plain.fingerprint_members() == PLAIN.fingerprint_members()
    assert plain.fingerprint_members() != changed.fingerprint_members()


@pytest.mark.parametrize(
    "options", [PLAIN, FULL, PROMISE], ids=["plain", "full", "promise"]
)
def test_a_form_asks_for_the_options_that_it_was_made_of(options):
    files = {
        name: getattr(options, name) for name in ("samples_sha256", "evaluation_sha256")
    }
    assert JobOptions.parse(options.as_fields(), **files) == options


def test_an_empty_field_counts_as_left_out():
    texts = dict.fromkeys(FIELD_PARSERS, "") | {"params_budget": " 60% "}
    assert JobOptions.parse(texts) == JobOptions({"params_budget": "60%"})


@pytest.mark.parametrize(
    ("texts", "samples_sha256", "code", "field"),
    [
        ({}, None, "budget_missing", "flops_budget"),
        ({"flops_budget": "2"}, None, "budget_invalid", "flops_budget"),
        (
            {"latency_budget": "0.5", "flops_at_any_price": "true"},
            None,
            "budget_invalid",
            "flops_at_any_price",
        ),
        (
            {"flops_budget": "0.5", "input_shape": "x"},
            None,
            "input_shape_invalid",
            "input_shape",
        ),
        (
            {"flops_budget": "0.5", "input_range": "0,1", "input_std": "1"},
            None,
            "input_range_invalid",
            "input_range",
        ),
        (
            {"flops_budget": "0.5", "input_std": "1"},
            None,
            "input_range_invalid",
            "input_mean",
        ),
        (
            {"flops_budget": "0.5", "calibration": "samples"},
            None,
            "calibration_invalid",
            "calibration",
        ),
        (
            {"flops_budget": "0.5", "calibration": "none"},
            "b" * 64,
            "calibration_invalid",
            "calibration",
        ),
    ],
)
def test_options_that_contradict_each_other_are_refused(
    texts, samples_sha256, code, field
):
    with pytest.raises(Refusal) as caught:
        JobOptions.parse(texts, samples_sha256=samples_sha256)
    assert caught.value.code == code
    assert caught.value.field == field


def test_samples_are_the_calibration_where_none_is_named():
    options = JobOptions.parse({"flops_budget": "0.5"}, samples_sha256="b" * 64)
    assert options.calibration == "samples"


def test_form_client_and_engine_know_every_option():
    names = {each.name for each in fields(JobOptions)}
    files = {"samples_sha256", "evaluation_sha256"}
    assert set(FIELD_PARSERS) == names - {"budgets", "kind", *files} | set(KINDS)
    form_fields = set(FIELD_PARSERS) - {
        "flops_budget"
    }  # an argument of its own in the client
    assert Options.__annotations__.keys() == form_fields | {
        "samples",
        "evaluation",
        "labels",
        "webhook_url",
    }
    request = {each.name for each in fields(Request)}
    assert FULL.as_request().keys() == names - files - {"target", "kind"}
    assert FULL.as_request().keys() <= request


def test_int8_alone_needs_no_budget_and_auto_needs_one():
    options = JobOptions.parse({"precision": " INT8 "})
    assert (options.precision, options.budgets) == ("int8", {})
    assert options.as_fields()["precision"] == "int8"
    assert "precision" not in PLAIN.as_fields()
    with pytest.raises(Refusal) as refused:
        JobOptions.parse({"precision": "auto"})
    assert refused.value.code == Code.BUDGET_MISSING


@pytest.mark.parametrize("precision", ["int4", "int8"])
def test_an_unknown_precision_and_one_without_ranges_are_refused(precision):
    with pytest.raises(Refusal) as refused:
        JobOptions.parse({"precision": precision, "calibration": "none"})
    assert (refused.value.code, refused.value.field) == (
        Code.PRECISION_INVALID,
        "precision",
    )
