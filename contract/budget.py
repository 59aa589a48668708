"""The FLOPs budget: what a user writes, and how many multiply-accumulates it allows."""

import re
from dataclasses import dataclass
from decimal import Decimal

from contract.refusal import Code, Refusal

FIELD = "flops_budget"
EXPECTED = "a fraction to keep (0.47 or 47%), or an amount (7.2G, 7.2 GFLOPs, 3.6 GMACs)"

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


def _invalid(detail: str, got: str) -> Refusal:
    return Refusal(Code.BUDGET_INVALID, detail, field=FIELD, expected=EXPECTED, got=got)
