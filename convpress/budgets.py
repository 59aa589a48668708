"""Budgets: what a user writes of what to keep, and how much that allows, in MACs, time, stored numbers or bytes.

A new kind of budget is a line in `KINDS` here, and what its unit costs in `worker.engine.selection.units`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from convpress.refusal import Code, Refusal

Unit = Literal["macs", "nanoseconds", "parameters", "bytes"]
"""What a budget counts."""

AT_ANY_PRICE = "flops_at_any_price"
"""The field that lets layers become slower than they are."""

_NUMBER = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(%|[a-z ]*)", re.IGNORECASE)
_LONGEST = 40


@dataclass(frozen=True)
class Kind:
    """One kind of budget: the field that it comes in, its unit, and how an amount of it is written."""

    field: str
    unit: Unit
    what: str
    example: str
    scales: Mapping[str, Decimal]
    """How many of the unit an amount's suffix stands for, by the suffix in capitals."""

    @property
    def expected(self) -> str:
        """Say how such a budget is written."""
        return f"a fraction of the model's {self.what} to keep (0.47 or 47%), or an amount ({self.example})"

    def parse(self, text: str) -> "Budget":
        """Read a budget as a user writes it.

        A number without a suffix is a fraction; `%` is a fraction in hundredths; any other suffix makes it an amount.

        Raises:
            Refusal: `budget_invalid` for what is not a budget, is not above zero, or is a fraction above one.

        >>> KINDS["flops_budget"].parse("47%").of(1000)
        470
        >>> KINDS["flops_budget"].parse("7.2G").amount, KINDS["flops_budget"].parse("3.6 GMACs").amount
        (3600000000, 3600000000)
        >>> KINDS["latency_budget"].parse("1.5 ms").amount, KINDS["bytes_budget"].parse("2 MiB").amount
        (1500000, 2097152)
        """
        shown = text if len(text) <= _LONGEST else text[:_LONGEST] + "..."
        match = _NUMBER.fullmatch(text.strip()) if len(text) <= _LONGEST else None
        suffix = match[2].upper().replace(" ", "") if match else ""
        if match is None or suffix not in ("", "%", *self.scales):
            raise self._invalid(f"{shown!r} is not a budget", shown)
        value = Decimal(match[1])
        if value == 0:
            raise self._invalid("a budget is above zero", shown)
        if suffix in ("", "%"):
            keep = value / 100 if suffix else value
            if keep > 1:
                raise self._invalid("a budget cannot keep more than 100% of a model", shown)
            return Budget(self, text.strip(), keep, None)
        amount = int(value * self.scales[suffix])
        if amount < 1:
            raise self._invalid(f"a budget allows at least one of the {self.unit}", shown)
        return Budget(self, text.strip(), None, amount)

    def _invalid(self, detail: str, got: str) -> Refusal:
        return Refusal(
            Code.BUDGET_INVALID, detail, field=self.field, expected=self.expected, got=got
        )


@dataclass(frozen=True)
class Budget:
    """What to keep of a model: a fraction of what the original costs in the kind's unit, or an amount of it.

    Exactly one of `keep` and `amount` is set.
    """

    kind: Kind
    text: str
    keep: Decimal | None
    amount: int | None

    def of(self, total: int) -> int:
        """Return how much this budget allows a model that costs `total` as it is."""
        if self.keep is not None:
            return int(self.keep * total)
        assert self.amount is not None  # by construction, the other half of `keep is None`
        return self.amount


def _scales(units: Mapping[str, Decimal], prefixes: Mapping[str, int]) -> dict[str, Decimal]:
    """Return what every prefix with every unit stands for."""
    return {
        prefix + unit: size * scale
        for unit, size in units.items()
        for prefix, scale in prefixes.items()
    }


_PREFIXES = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_BINARY = {"KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}
_ONE, _HALF = Decimal(1), Decimal(1) / 2
_FLOPS = {
    "": _HALF,
    "FLOP": _HALF,
    "FLOPS": _HALF,
    "MAC": _ONE,
    "MACS": _ONE,
}  # one MAC is two FLOPs
_COUNTS = {"": _ONE, "PARAMS": _ONE, "PARAMETERS": _ONE}
_TIMES = {"NS": 1, "US": 10**3, "MS": 10**6, "S": 10**9}

FLOPS = Kind(
    "flops_budget", "macs", "FLOPs", "7.2G, 7.2 GFLOPs, 3.6 GMACs", _scales(_FLOPS, _PREFIXES)
)
LATENCY = Kind(
    "latency_budget",
    "nanoseconds",
    "time",
    "12ms, 800us, 1.5s",
    _scales(dict.fromkeys([""], _ONE), _TIMES),
)
PARAMETERS = Kind(
    "params_budget", "parameters", "parameters", "5.4M, 300k params", _scales(_COUNTS, _PREFIXES)
)
BYTES = Kind(
    "bytes_budget",
    "bytes",
    "file size",
    "20MB, 18.5 MiB, 900kB",
    _scales({"B": _ONE}, _PREFIXES | _BINARY),
)

KINDS = {kind.field: kind for kind in (FLOPS, LATENCY, PARAMETERS, BYTES)}
"""All kinds of budget, by the field that they come in."""


def parse_budgets(given: Mapping[str, str | None]) -> tuple[Budget, ...]:
    """Read the budgets that were given, by field, all of which are to be met; what is empty was not given.

    Raises:
        Refusal: `budget_missing` for none at all, `budget_invalid` for one that cannot be read.

    >>> given = {"params_budget": "50%", "bytes_budget": "1MB", "flops_budget": ""}
    >>> [budget.kind.unit for budget in parse_budgets(given)]
    ['parameters', 'bytes']
    """
    texts = {field: given.get(field) for field in KINDS}
    budgets = tuple(
        KINDS[field].parse(text)
        for field, text in texts.items()
        if text is not None and text.strip()
    )
    require_budget(budgets)
    return budgets


def require_budget(budgets: Sequence[Budget]) -> None:
    """Check that there is a budget.

    Raises:
        Refusal: `budget_missing`.
    """
    if budgets:
        return
    raise Refusal(
        Code.BUDGET_MISSING,
        "a budget is required",
        field=FLOPS.field,
        expected=f"{FLOPS.expected}; or {', '.join(field for field in KINDS if field != FLOPS.field)}",
        got="nothing",
    )


def require_consistent(budgets: Sequence[Budget], *, at_any_price: bool) -> None:
    """Check that time does not count where it is not to count.

    Raises:
        Refusal: `budget_invalid`.
    """
    if at_any_price and LATENCY in [budget.kind for budget in budgets]:
        detail = f"{AT_ANY_PRICE} contradicts {LATENCY.field}"
        raise Refusal(Code.BUDGET_INVALID, detail, field=AT_ANY_PRICE, expected="false", got="true")


def parse_at_any_price(text: str | None) -> bool:
    """Read whether layers may become slower than they are; nothing is no.

    Raises:
        Refusal: `budget_invalid`.
    """
    said = (text or "false").strip().lower()
    if said not in ("true", "false"):
        raise Refusal(
            Code.BUDGET_INVALID,
            "it is a yes or a no",
            field=AT_ANY_PRICE,
            expected="true or false",
            got=said,
        )
    return said == "true"
