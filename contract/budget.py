"""Budgets: what a user writes, and how many multiply-accumulates, or nanoseconds, it allows."""

import re
from dataclasses import dataclass
from decimal import Decimal

from contract.refusal import Code, Refusal

FIELD = "flops_budget"
EXPECTED = "a fraction to keep (0.47 or 47%), or an amount (7.2G, 7.2 GFLOPs, 3.6 GMACs)"

LATENCY_FIELD = "latency_budget"
LATENCY_EXPECTED = "a fraction of the model's time to keep (0.6 or 60%), or an amount (12ms, 800us, 1.5s)"
AT_ANY_PRICE = "flops_at_any_price"

_NANOSECONDS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9}
_TIME = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(%|ns|us|ms|s)?", re.IGNORECASE)
_SCALE = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_AMOUNT = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(?:(%)|([KMGT]?)\s*(FLOPS?|MACS?)?)", re.IGNORECASE)
_LONGEST = 40


@dataclass(frozen=True)
class Budget:
    """What to keep of a model's FLOPs: a fraction of the original or an absolute number of MACs.

    Exactly one of `keep` and `macs` is set. One MAC is two FLOPs.
    """

    text: str
    keep: Decimal | None
    macs: int | None

    def of(self, total_macs: int) -> int:
        """Return how many MACs this budget allows a model that costs `total_macs` as it is."""
        if self.keep is not None:
            return int(self.keep * total_macs)
        assert self.macs is not None  # by construction, the other half of `keep is None`
        return self.macs


def parse_budget(text: str | None) -> Budget:
    """Read a budget as a user writes it.

    A number without a unit is a fraction; `%` is a fraction in hundredths; a unit (K, M, G, T, with FLOPs or
    MACs behind it or not) makes it an amount, of FLOPs unless it says MACs.

    Raises:
        Refusal: `budget_missing` for nothing at all, `budget_invalid` for what is not a budget, is not above zero,
            or is a fraction above one.

    >>> parse_budget("47%").of(1000)
    470
    >>> parse_budget("7.2G").macs
    3600000000
    >>> parse_budget("3.6 GMACs").macs
    3600000000
    """
    if text is None or not text.strip():
        raise Refusal(Code.BUDGET_MISSING, f"{FIELD} is required", field=FIELD, expected=EXPECTED, got="nothing")
    shown = text if len(text) <= _LONGEST else text[:_LONGEST] + "..."
    match = _AMOUNT.fullmatch(text.strip()) if len(text) <= _LONGEST else None
    if match is None:
        raise _invalid(f"{shown!r} is not a budget", shown)
    number, percent, scale, unit = match.groups()
    value = Decimal(number)
    if value == 0:
        raise _invalid("a budget is above zero", shown)
    if percent or not (scale or unit):
        keep = value / 100 if percent else value
        if keep > 1:
            raise _invalid("a budget cannot keep more than 100% of a model", shown)
        return Budget(text.strip(), keep, None)
    flops = value * _SCALE[scale.upper()]
    macs = flops if unit and unit.upper().startswith("MAC") else flops / 2
    if macs < 1:
        raise _invalid("a budget allows at least one multiply-accumulate", shown)
    return Budget(text.strip(), None, int(macs))


@dataclass(frozen=True)
class LatencyBudget:
    """What to keep of a model's time: a fraction of what its layers take as they are, or nanoseconds.

    Exactly one of `keep` and `nanoseconds` is set.
    """

    text: str
    keep: Decimal | None
    nanoseconds: int | None

    def of(self, total: int) -> int:
        """Return how many nanoseconds this budget allows a model whose layers take `total` as they are."""
        if self.keep is not None:
            return int(self.keep * total)
        assert self.nanoseconds is not None  # by construction, the other half of `keep is None`
        return self.nanoseconds


def parse_latency_budget(text: str) -> LatencyBudget:
    """Read a latency budget as a user writes it: a number alone is a fraction, a unit of time makes it an amount.

    Raises:
        Refusal: `budget_invalid` for what is not a budget, is not above zero, or is a fraction above one.

    >>> parse_latency_budget("60%").of(1000)
    600
    >>> parse_latency_budget("1.5 ms").nanoseconds
    1500000
    """
    shown = text if len(text) <= _LONGEST else text[:_LONGEST] + "..."
    match = _TIME.fullmatch(text.strip()) if len(text) <= _LONGEST else None
    if match is None:
        raise _invalid_latency(f"{shown!r} is no time", shown)
    value, unit = Decimal(match[1]), (match[2] or "").lower()
    if value == 0:
        raise _invalid_latency("a budget is above zero", shown)
    if unit not in _NANOSECONDS:
        keep = value / 100 if unit else value
        if keep > 1:
            raise _invalid_latency("a budget cannot keep more than 100% of a model", shown)
        return LatencyBudget(text.strip(), keep, None)
    nanoseconds = int(value * _NANOSECONDS[unit])
    if nanoseconds < 1:
        raise _invalid_latency("a budget allows at least one nanosecond", shown)
    return LatencyBudget(text.strip(), None, nanoseconds)


def choose_budget(flops: str | None, latency: str | None) -> Budget | LatencyBudget:
    """Read the one budget that was given; what is empty was not.

    Raises:
        Refusal: `budget_missing` for none, `budget_invalid` for both and for what cannot be read.
    """
    if latency is None or not latency.strip():
        return parse_budget(flops)
    if flops is not None and flops.strip():
        raise Refusal(
            Code.BUDGET_INVALID,
            f"{FIELD} and {LATENCY_FIELD} are both given",
            field=LATENCY_FIELD,
            expected=f"one of {FIELD} and {LATENCY_FIELD}",
            got="both",
        )
    return parse_latency_budget(latency)


def _invalid(detail: str, got: str) -> Refusal:
    return Refusal(Code.BUDGET_INVALID, detail, field=FIELD, expected=EXPECTED, got=got)


def _invalid_latency(detail: str, got: str) -> Refusal:
    return Refusal(Code.BUDGET_INVALID, detail, field=LATENCY_FIELD, expected=LATENCY_EXPECTED, got=got)
