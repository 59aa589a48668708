"""Budgets as users write them: what each kind takes, and that nothing else is taken for one."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convpress.budgets import (
    BYTES,
    FLOPS,
    KINDS,
    LATENCY,
    PARAMETERS,
    parse_allow_incomplete,
    parse_at_any_price,
    parse_budgets,
)
from convpress.refusal import Code, Refusal


@pytest.mark.parametrize(
    ("kind", "text", "amount"),
    [
        (FLOPS, "7.2G", 3_600_000_000),
        (FLOPS, " 7.2 GFLOPs ", 3_600_000_000),
        (FLOPS, "3.6gmacs", 3_600_000_000),
        (FLOPS, "2 FLOPs", 1),
        (PARAMETERS, "5.4M", 5_400_000),
        (PARAMETERS, "300k params", 300_000),
        (PARAMETERS, "12 parameters", 12),
        (BYTES, "20MB", 20_000_000),
        (BYTES, "1.5 MiB", 1_572_864),
        (BYTES, "900B", 900),
        (LATENCY, "12ms", 12_000_000),
        (LATENCY, ".5 s", 500_000_000),
        (FLOPS, "7200000", 3_600_000),
        (FLOPS, "1e6", 500_000),
        (FLOPS, "7,2G", 3_600_000_000),
        (PARAMETERS, "5.4E6", 5_400_000),
        (BYTES, "7200000", 7_200_000),
    ],
)
def test_an_amount_is_read_in_its_kinds_unit(kind, text, amount):
    assert kind.parse(text).amount == amount
    assert kind.parse(text).of(10) == amount


@given(
    st.sampled_from(sorted(KINDS)), st.decimals(0, 1, places=4), st.integers(0, 10**12)
)
def test_a_fraction_keeps_that_much_of_any_model_however_it_is_written(
    field, keep, total
):
    if keep == 0:
        return
    assert KINDS[field].parse(str(keep)).of(total) == int(keep * total)
    assert KINDS[field].parse(f"{keep * 100}%").of(total) == int(
        Decimal(str(keep * 100)) / 100 * total
    )


@pytest.mark.parametrize("field", KINDS)
@pytest.mark.parametrize(
    "text",
    [
        "0",
        "0%",
        "-1",
        "1.01",
        "101%",
        "NaN",
        "inf",
        "150",
        "1e100",
        "half",
        "\N{ARABIC-INDIC DIGIT ZERO}.\N{ARABIC-INDIC DIGIT FIVE}",
        "5 x",
        "1 2",
        "1" * 41,
        "%",
        "G",
        "1,000",
        "7,200M",
        "0,5,0",
        "0.1%%",
    ],
)
def test_what_is_no_budget_is_refused_by_its_field(field, text):
    with pytest.raises(Refusal) as refused:
        KINDS[field].parse(text)
    assert refused.value.code == Code.BUDGET_INVALID
    assert refused.value.field == field
    assert refused.value.expected == KINDS[field].expected


@pytest.mark.parametrize("text", [".5", "0,5", ",5", "50 %", "50,0%", "5e-1", "0,500"])
@pytest.mark.parametrize("field", KINDS)
def test_a_half_is_read_however_people_write_it(field, text):
    assert KINDS[field].parse(text).of(1000) == 500


@pytest.mark.parametrize(
    ("kind", "text", "meant"),
    [
        (FLOPS, "50", "did you mean 50%?"),
        (
            LATENCY,
            "12",
            "did you mean 12% or an amount with its unit (12ms, 800us, 1.5s)?",
        ),
        (
            LATENCY,
            "7200000",
            "did you mean an amount with its unit (12ms, 800us, 1.5s)?",
        ),
        (FLOPS, "7,200M", "did you mean 7.200M or 7200M?"),
        (FLOPS, "1,000", "did you mean 1.000 or 1000?"),
        (FLOPS, "1,000,000 FLOPs", "did you mean 1000000 FLOPs?"),
        (BYTES, "1,000,000", "did you mean 1000000?"),
        # without the commas these are no budgets either
        (LATENCY, "1,000,000", "is not a budget"),
        (BYTES, "1,000,000 FLOPs", "is not a budget"),
        (FLOPS, "0,000,000", "is not a budget"),
        (BYTES, "5M", "did you mean 5MB?"),
        (BYTES, "5 mi", "did you mean 5miB?"),
        (FLOPS, "20MB", "did you mean bytes_budget=20MB?"),
        (PARAMETERS, "12ms", "did you mean latency_budget=12ms?"),
    ],
)
def test_a_refusal_says_what_was_probably_meant(kind, text, meant):
    with pytest.raises(Refusal) as refused:
        kind.parse(text)
    assert refused.value.detail.endswith(meant)


@pytest.mark.parametrize("text", ["101%", "150", "5 x"])
def test_a_refusal_guesses_nothing_without_a_reason(text):
    with pytest.raises(Refusal) as refused:
        FLOPS.parse(text)
    assert "did you mean" not in refused.value.detail


@pytest.mark.parametrize(
    ("kind", "text"),
    [(FLOPS, "12ms"), (BYTES, "5M"), (LATENCY, "5M"), (PARAMETERS, "20MB")],
)
def test_the_suffix_of_another_kind_is_refused(kind, text):
    with pytest.raises(Refusal):
        kind.parse(text)


@pytest.mark.parametrize(
    ("kind", "text"),
    [(FLOPS, "1 FLOP"), (PARAMETERS, "0.5 params"), (BYTES, "0.2B"), (LATENCY, ".1ns")],
)
def test_an_amount_of_less_than_one_is_refused(kind, text):
    with pytest.raises(Refusal, match="allows nothing"):
        kind.parse(text)


@pytest.mark.parametrize(
    "texts", [{}, {"flops_budget": None}, {"flops_budget": " ", "bytes_budget": ""}]
)
def test_no_budget_at_all_is_told_with_every_field_that_would_do(texts):
    with pytest.raises(Refusal) as refused:
        parse_budgets(texts)
    assert refused.value.code == Code.BUDGET_MISSING
    assert all(
        field == "flops_budget" or field in refused.value.expected for field in KINDS
    )


@pytest.mark.parametrize(
    ("text", "expected"), [(None, False), ("", False), ("false", False), ("True", True)]
)
def test_a_price_is_any_or_it_is_not(text, expected):
    assert parse_at_any_price(text) is expected


def test_a_price_that_is_neither_is_refused():
    with pytest.raises(Refusal) as refused:
        parse_at_any_price("1")
    assert refused.value.field == "flops_at_any_price"
    assert refused.value.detail == "flops_at_any_price must be true or false"


def test_an_incomplete_account_needs_an_explicit_yes():
    assert [parse_allow_incomplete(text) for text in (None, "", "false", " True ")] == [
        False,
        False,
        False,
        True,
    ]
    with pytest.raises(Refusal) as refused:
        parse_allow_incomplete("yes")
    assert refused.value.field == "allow_incomplete_account"
