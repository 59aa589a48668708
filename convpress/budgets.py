"""Budgets as users write them: a share of the model to keep, or an amount in a unit.

A new kind of budget is an entry in `KINDS` here, and its unit in `worker.engine.selection.units`.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from convpress.refusal import Code, Refusal
from convpress.report import Report, bytes_kept, macs_kept, parameters_kept, time_kept

FLOPS_PER_MAC = 2
"""One multiplication and one addition."""

AT_ANY_PRICE = "flops_at_any_price"
"""The field that lets layers become slower than they are."""

LOW_RISK = "auto"
"""The FLOPs budget that stands for the cheapest artifact of low risk."""

ALLOW_INCOMPLETE = "allow_incomplete_account"
"""The field that lets a budget hold for the counted operators of a model alone."""

_NUMBER = re.compile(
    r"((?:\d+(?:[.,]\d*)?|[.,]\d+)(?:e[+-]?\d{1,2})?)\s*(%|[a-z ]*)",
    re.IGNORECASE | re.ASCII,
)
# A comma before three digits may separate thousands.
_AMBIGUOUS_COMMA = re.compile(r"0*[1-9]\d*,\d{3}(?!\d)")
# Several commas can only separate thousands.
_GROUPED = re.compile(r"\d{1,3}(?:,\d{3}){2,}\s*[a-z ]*", re.IGNORECASE)
# From here on, a number without a suffix can be neither a fraction nor a percentage.
_LEAST_BARE_AMOUNT = 1000
_LONGEST = 40


@dataclass(frozen=True)
class BudgetKind:
    """One kind of budget: its form field, its unit, and how an amount is written.

    `unit` is the key of a unit of `worker.engine.selection.units`. `quantity` is the noun for
    messages. `scales` maps an amount's suffix, in capitals, to the number of units that it stands
    for. `bare` is the suffix that a large number without one has, None where it could have several.
    With `chosen_by_risk` the text `auto` leaves the amount to the engine.
    `kept` reads from a job's report the fraction of the unit that the job kept.
    """

    field: str
    unit: str
    quantity: str
    example: str
    scales: Mapping[str, Decimal]
    kept: Callable[[Report], float]
    bare: str | None = None
    chosen_by_risk: bool = False

    @property
    def expected(self) -> str:
        """How a budget of this kind is written, for messages."""
        share = f"a fraction of the model's {self.quantity} to keep (0.47 or 47%)"
        automatic = (
            f", or {LOW_RISK} for the least of low risk" if self.chosen_by_risk else ""
        )
        return f"{share}, or an amount ({self.example}){automatic}"

    def parse(self, text: str) -> "Budget":
        """Read a budget as a user writes it.

        A number without a suffix is a fraction, or from 1000 on an amount of the field's own unit;
        `%` is a fraction in hundredths; any other suffix makes it an amount. A decimal comma is
        taken for a point where it cannot separate thousands.

        Raises:
            Refusal: `budget_invalid` for text that is no budget, zero, or a fraction above one,
                with what was probably meant.

        >>> KINDS["flops_budget"].parse("47%").of(1000)
        470
        >>> KINDS["flops_budget"].parse("7.2G").amount
        3600000000
        >>> KINDS["flops_budget"].parse("3.6 GMACs").amount
        3600000000
        >>> KINDS["flops_budget"].parse("7200000").amount
        3600000
        >>> KINDS["latency_budget"].parse("1,5 ms").amount
        1500000
        >>> KINDS["bytes_budget"].parse("2 MiB").amount
        2097152
        """
        # a long text is not matched: Decimal takes its time for a million digits
        is_short = len(text) <= _LONGEST
        if self.chosen_by_risk and is_short and text.strip().lower() == LOW_RISK:
            return Budget(self, LOW_RISK, None, None)
        shown = text if is_short else text[:_LONGEST] + "..."
        match = _NUMBER.fullmatch(text.strip()) if is_short else None
        if match is None:
            is_grouped = is_short and _GROUPED.fullmatch(text.strip())
            question = self._without_commas(text.strip()) if is_grouped else ""
            raise self._invalid(f"{shown!r} is not a budget{question}", shown)
        if _AMBIGUOUS_COMMA.match(match[1]):
            point, thousands = match[1].replace(",", "."), match[1].replace(",", "")
            raise self._invalid(
                f"{shown!r} has a comma: did you mean {point}{match[2]} or {thousands}{match[2]}?",
                shown,
            )
        value = Decimal(match[1].replace(",", "."))
        suffix = match[2].upper().replace(" ", "")
        if suffix not in ("", "%", *self.scales):
            raise self._invalid(f"{shown!r} is not a budget{self._meant(match)}", shown)
        if value == 0:
            raise self._invalid("a budget must be above zero", shown)
        if suffix == "" and self.bare is not None and value >= _LEAST_BARE_AMOUNT:
            suffix = self.bare
        elif suffix in ("", "%"):
            return self._share(text.strip(), value / 100 if suffix else value, shown)
        return self._amount(text.strip(), int(value * self.scales[suffix]), shown)

    def _without_commas(self, text: str) -> str:
        """Return the correction of a number with thousands; empty if that is no budget either."""
        plain = text.replace(",", "")
        try:
            self.parse(plain)
        except Refusal:
            return ""
        return f": did you mean {plain}?"

    def _meant(self, match: re.Match[str]) -> str:
        """Return a likely correction of a number with an unknown suffix; empty if there is none."""
        number, written = match[1], match[2].strip()
        suffix = written.upper().replace(" ", "")
        if suffix + "B" in self.scales:
            return f": did you mean {number}{written}B?"
        for kind in KINDS.values():
            if suffix in kind.scales:
                return f": did you mean {kind.field}={number}{written}?"
        return ""

    def _share(self, text: str, keep: Decimal, shown: str) -> "Budget":
        if keep <= 1:
            return Budget(self, text, keep, None)
        detail = "a budget cannot keep more than 100% of a model"
        if not text.endswith("%"):
            meant = [f"{shown}%"] if keep <= 100 else []
            if self.bare is None:
                meant.append(f"an amount with its unit ({self.example})")
            question = f": did you mean {' or '.join(meant)}?" if meant else ""
            detail = f"{shown} is more than 1, a whole model{question}"
        raise self._invalid(detail, shown)

    def _amount(self, text: str, amount: int, shown: str) -> "Budget":
        if amount < 1:
            raise self._invalid(
                f"{shown} is too little for a model: it allows nothing", shown
            )
        return Budget(self, text, None, amount)

    def _invalid(self, detail: str, got: str) -> Refusal:
        return Refusal(
            Code.BUDGET_INVALID,
            detail,
            field=self.field,
            expected=self.expected,
            got=got,
        )


@dataclass(frozen=True)
class Budget:
    """A share of the original's cost in the kind's unit, or an amount of that unit.

    Exactly one of `keep` and `amount` is set, and none where the engine is to choose the amount by
    the risk. `text` is the budget as the user wrote it.
    """

    kind: BudgetKind
    text: str
    keep: Decimal | None
    amount: int | None

    @property
    def is_chosen_by_risk(self) -> bool:
        """Whether the engine is to choose the amount."""
        return self.keep is None and self.amount is None

    def of(self, total: int) -> int:
        """Return the amount that this budget allows a model whose original costs `total`."""
        if self.keep is not None:
            return int(self.keep * total)
        assert (
            self.amount is not None
        )  # the engine replaces a budget that it is to choose
        return self.amount


def _scales(
    units: Mapping[str, Decimal], prefixes: Mapping[str, int]
) -> dict[str, Decimal]:
    """Return the scale of every prefix with every unit."""
    scales = {}
    for unit, size in units.items():
        for prefix, scale in prefixes.items():
            scales[prefix + unit] = size * scale
    return scales


_ONE = Decimal(1)
# Costs are counted in MACs, so a FLOP is half a unit.
_FLOP = _ONE / FLOPS_PER_MAC
_FLOPS = {"": _FLOP, "FLOP": _FLOP, "FLOPS": _FLOP, "MAC": _ONE, "MACS": _ONE}
_COUNTS = {"": _ONE, "PARAMS": _ONE, "PARAMETERS": _ONE}
_TIMES = {"NS": 1, "US": 10**3, "MS": 10**6, "S": 10**9}
_PREFIXES = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
# MB and MiB differ by five percent, which can miss the limit of a device.
_BINARY = {"KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}

FLOPS = BudgetKind(
    field="flops_budget",
    unit="macs",
    quantity="FLOPs",
    example="7.2G, 7.2 GFLOPs, 3.6 GMACs",
    scales=_scales(_FLOPS, _PREFIXES),
    kept=macs_kept,
    bare="FLOPS",
    chosen_by_risk=True,
)
LATENCY = BudgetKind(
    field="latency_budget",
    unit="nanoseconds",
    quantity="time",
    example="12ms, 800us, 1.5s",
    scales=_scales({"": _ONE}, _TIMES),
    kept=time_kept,
)
PARAMETERS = BudgetKind(
    field="params_budget",
    unit="parameters",
    quantity="parameters",
    example="5.4M, 300k params",
    scales=_scales(_COUNTS, _PREFIXES),
    kept=parameters_kept,
    bare="PARAMS",
)
BYTES = BudgetKind(
    field="bytes_budget",
    unit="bytes",
    quantity="file size",
    example="20MB, 18.5 MiB, 900kB",
    scales=_scales({"B": _ONE}, _PREFIXES | _BINARY),
    kept=bytes_kept,
    bare="B",
)

KINDS: dict[str, BudgetKind] = {
    FLOPS.field: FLOPS,
    LATENCY.field: LATENCY,
    PARAMETERS.field: PARAMETERS,
    BYTES.field: BYTES,
}
"""All kinds of budget, by form field. Of several budgets the first in this order leads."""


def parse_budgets(texts: Mapping[str, str | None]) -> tuple[Budget, ...]:
    """Read budgets by form field, in the order of `KINDS`; an empty text counts as none.

    Raises:
        Refusal: `budget_missing` without any budget, `budget_invalid` for one that cannot be read.

    >>> texts = {"params_budget": "50%", "bytes_budget": "1MB", "flops_budget": ""}
    >>> [budget.kind.unit for budget in parse_budgets(texts)]
    ['parameters', 'bytes']
    """
    budgets = []
    for field, kind in KINDS.items():
        text = texts.get(field)
        if text is not None and text.strip():
            budgets.append(kind.parse(text))
    require_budget(budgets)
    return tuple(budgets)


def require_budget(budgets: Sequence[Budget]) -> None:
    """Check that there is a budget.

    Raises:
        Refusal: `budget_missing`.
    """
    if budgets:
        return
    others = ", ".join(field for field in KINDS if field != FLOPS.field)
    raise Refusal(
        Code.BUDGET_MISSING,
        "a budget is required",
        field=FLOPS.field,
        expected=f"{FLOPS.expected}; or {others}, max_loss",
        got="nothing",
    )


def require_consistent(budgets: Sequence[Budget], *, at_any_price: bool) -> None:
    """Check that layers are not allowed to become slower under a budget of time.

    Raises:
        Refusal: `budget_invalid`.
    """
    has_latency = any(budget.kind == LATENCY for budget in budgets)
    # One asks for time to count, the other for it not to.
    if not (at_any_price and has_latency):
        return
    raise Refusal(
        Code.BUDGET_INVALID,
        f"{AT_ANY_PRICE} contradicts {LATENCY.field}",
        field=AT_ANY_PRICE,
        expected="false",
        got="true",
    )


def parse_at_any_price(text: str | None) -> bool:
    """Read whether layers may become slower than they are; no text means no.

    Raises:
        Refusal: `budget_invalid`.
    """
    return _parse_truth(text, AT_ANY_PRICE)


def parse_allow_incomplete(text: str | None) -> bool:
    """Read whether a budget may leave operators out that are not counted; no text means no.

    Raises:
        Refusal: `budget_invalid`.
    """
    return _parse_truth(text, ALLOW_INCOMPLETE)


def _parse_truth(text: str | None, field: str) -> bool:
    answer = (text or "false").strip().lower()
    if answer in ("true", "false"):
        return answer == "true"
    raise Refusal(
        Code.BUDGET_INVALID,
        f"{field} must be true or false",
        field=field,
        expected="true or false",
        got=answer,
    )
