"""Job options: all that a job can ask of a compression, in one record.

A new option is a field of `JobOptions` here, a column of the table `jobs` and a member of the
engine's request.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, Self

from convpress import evaluation, max_loss
from convpress.budgets import (
    ALLOW_INCOMPLETE,
    AT_ANY_PRICE,
    FLOPS,
    KINDS,
    parse_allow_incomplete,
    parse_at_any_price,
    require_budget,
    require_consistent,
)
from convpress.calibration import (
    DEVIATION,
    FIELD,
    MEAN,
    RANGE,
    Calibration,
    choose_calibration,
    parse_calibration,
    parse_deviation,
    parse_mean,
    parse_range,
    require_range_or_moments,
)
from convpress.precision import FIELD as PRECISION
from convpress.precision import FLOAT, INT8, Precision, parse_precision, require_ranges
from convpress.shapes import parse_input_shape
from convpress.targets import FIELD as TARGET
from convpress.targets import parse_target
from convpress.threads import FIELD as THREADS
from convpress.threads import parse_threads

Kind = Literal["compression", "advice"]
"""What a job does: it makes one artifact, or compares several ways of making one."""

COMPRESSION: Kind = "compression"
ADVICE: Kind = "advice"

FieldParser = Callable[[str], Any]
"""Reads the text of one form field and returns its value.

None or False stands for a field left empty.
"""

# Metadata of a field: part of the budgets, or of the measurement of the artifact, so that an
# analysis does not depend on it.
_BUDGET = {"budget": True}
# Idempotency keys outlive the versions of this code: these options, the oldest, are part of a
# fingerprint also where a job does not ask for them. Any other option takes part only where its
# value is not the default, so that a new option changes no fingerprint of an older request.
_OLDEST = frozenset({"input_shape", FIELD, RANGE, MEAN, DEVIATION})


@dataclass(frozen=True)
class JobOptions:
    """All that a job can ask, as the user wrote it.

    The model, labels and webhook of a job are not part of it. An advice tries budgets and
    precisions of its own.

    `budgets` has the texts of the budgets by field (`KINDS`). `max_loss` stands in the place of one
    of FLOPs. `samples_sha256` is the SHA-256 of the file of real inputs, for the calibration
    `samples`, and `evaluation_sha256` that of the file with labels or targets. Every field takes
    part in the key of an analysis unless it is marked as a budget.
    """

    budgets: Mapping[str, str] = field(default_factory=dict, metadata=_BUDGET)
    flops_at_any_price: bool = field(default=False, metadata=_BUDGET)
    max_loss: str | None = field(default=None, metadata=_BUDGET)
    allow_incomplete_account: bool = field(default=False, metadata=_BUDGET)
    evaluation_sha256: str | None = field(default=None, metadata=_BUDGET)
    evaluation_metric: str | None = field(default=None, metadata=_BUDGET)
    evaluation_output: str | None = field(default=None, metadata=_BUDGET)
    precision: Precision = field(default=FLOAT, metadata=_BUDGET)
    kind: Kind = field(default=COMPRESSION, metadata=_BUDGET)
    threads: int | None = field(default=None, metadata=_BUDGET)
    input_shape: str | None = None
    calibration: Calibration = "synthetic"
    samples_sha256: str | None = None
    input_range: str | None = None
    input_mean: str | None = None
    input_std: str | None = None
    target: str | None = None

    @classmethod
    def parse(
        cls,
        texts: Mapping[str, str | None],
        *,
        samples_sha256: str | None = None,
        evaluation_sha256: str | None = None,
        needs_budget: bool = True,
        has_score: bool = False,
    ) -> Self:
        """Read the options from the texts of form fields; an empty text counts as a field left out.

        With `needs_budget` false, something else takes the place of budgets, such as a fixed rank.
        With `has_score` a command of the user measures the artifact.

        Raises:
            Refusal: a field is invalid, or the fields contradict each other.

        >>> JobOptions.parse({"flops_budget": " 50% ", "input_shape": "1x3x8x8"}).as_fields()
        {'flops_budget': '50%', 'input_shape': '1x3x8x8', 'calibration': 'synthetic'}
        """
        values = {
            name: FIELD_PARSERS[name](text) for name, text in texts.items() if text
        }
        return cls.combine(
            values,
            samples_sha256=samples_sha256,
            evaluation_sha256=evaluation_sha256,
            needs_budget=needs_budget,
            has_score=has_score,
        )

    @classmethod
    def combine(
        cls,
        values: Mapping[str, Any],
        *,
        samples_sha256: str | None = None,
        evaluation_sha256: str | None = None,
        needs_budget: bool = True,
        has_score: bool = False,
    ) -> Self:
        """Build the options from values of `FIELD_PARSERS`, and check them against each other.

        Raises:
            Refusal: `budget_missing`, `budget_invalid`, `input_range_invalid`,
                `calibration_invalid`, `evaluation_invalid` or `precision_invalid`.
        """
        budgets = [values[name] for name in KINDS if values.get(name)]
        members = {name: values[name] for name in _MEMBERS if values.get(name)}
        metric = evaluation.choose_metric(
            members.get(evaluation.METRIC),
            members.get(evaluation.OUTPUT),
            has_file=evaluation_sha256 is not None,
        )
        if metric is not None:
            members[evaluation.METRIC] = metric
        precision = members.get(PRECISION, FLOAT)
        if max_loss.FIELD in members:
            has_flops_budget = any(budget.kind == FLOPS for budget in budgets)
            max_loss.require_alone(flops_budget=has_flops_budget, rank=not needs_budget)
            measured = evaluation.SCORE if has_score else metric or evaluation.AGREEMENT
            loss = max_loss.parse_max_loss(members[max_loss.FIELD])
            max_loss.require_measurable(loss, measured)
        elif needs_budget and precision != INT8:
            # int8 alone compresses a model: it needs no budget
            require_budget(budgets)
        require_consistent(budgets, at_any_price=bool(members.get(AT_ANY_PRICE)))
        require_range_or_moments(
            *(members.get(name) for name in (RANGE, MEAN, DEVIATION))
        )
        has_samples = samples_sha256 is not None
        members[FIELD] = choose_calibration(members.get(FIELD), samples=has_samples)
        require_ranges(precision, members[FIELD])
        texts = {budget.kind.field: budget.text for budget in budgets}
        return cls(
            budgets=texts,
            samples_sha256=samples_sha256,
            evaluation_sha256=evaluation_sha256,
            **members,
        )

    def for_advice(self) -> Self:
        """Return the same options for an advice, without budgets, precision and evaluation.

        >>> options = JobOptions.parse({"flops_budget": "0.5", "input_shape": "1x3x8x8"})
        >>> options.for_advice().as_fields()
        {'input_shape': '1x3x8x8', 'calibration': 'synthetic'}
        """
        own = {
            each.name: getattr(self, each.name)
            for each in fields(self)
            if not each.metadata.get("budget")
        }
        return type(self)(
            kind=ADVICE, allow_incomplete_account=self.allow_incomplete_account, **own
        )

    def as_fields(self) -> dict[str, str]:
        """Return the form fields that ask for these options.

        Samples and evaluations are sent as files, and the kind is the path of the call, so they
        are not among them.
        """
        members = {name: getattr(self, name) for name in _MEMBERS}
        if self.precision == FLOAT:
            del members[PRECISION]
        texts = {name: form_text(value) for name, value in members.items() if value}
        return {**self.budgets, **texts}

    def as_request(self) -> dict[str, Any]:
        """Return the members of the engine's request.

        The engine gets samples, the evaluation and the cost table of the target as paths of files,
        and the kind as its command.
        """
        members = asdict(self)
        for name in ("samples_sha256", "evaluation_sha256", TARGET, "kind"):
            del members[name]
        return members

    def analysis_key(self) -> str:
        """Return the SHA-256 of all options but the budgets; an analysis depends on these."""
        members = {
            each.name: getattr(self, each.name)
            for each in fields(self)
            if not each.metadata.get("budget")
        }
        return hashlib.sha256(json.dumps(members, sort_keys=True).encode()).hexdigest()

    def fingerprint_members(self) -> dict[str, Any]:
        """Return the members of a request's fingerprint.

        An option that is not asked for adds none, unless it is one of the oldest.
        """
        members = {
            each.name: getattr(self, each.name)
            for each in fields(self)
            if each.name in _OLDEST or getattr(self, each.name) != each.default
        }
        # The oldest versions had a member for each budget, and `samples` for the SHA-256.
        members.pop("samples_sha256", None)
        members |= members.pop("budgets")
        return members | {"samples": self.samples_sha256}


def form_text(value: str | float) -> str:
    """Return the text of a form field with a value.

    >>> form_text(True), form_text(0.5)
    ('true', '0.5')
    """
    return str(value).lower() if isinstance(value, bool) else str(value)


def _unless_empty(parse: FieldParser) -> FieldParser:
    """Return a parser that reads an empty text as None; browsers send empty fields."""
    return lambda text: parse(text) if text.strip() else None


def _as_written(parse: FieldParser) -> FieldParser:
    """Return a parser that checks a text and returns it as the user wrote it."""

    def check(text: str) -> str:
        parse(text)
        return text.strip()

    return _unless_empty(check)


FIELD_PARSERS: Mapping[str, FieldParser] = {
    **{name: _unless_empty(kind.parse) for name, kind in KINDS.items()},
    AT_ANY_PRICE: parse_at_any_price,
    max_loss.FIELD: _as_written(max_loss.parse_max_loss),
    ALLOW_INCOMPLETE: parse_allow_incomplete,
    evaluation.METRIC: evaluation.parse_metric,
    evaluation.OUTPUT: evaluation.parse_output,
    PRECISION: parse_precision,
    "input_shape": _as_written(parse_input_shape),
    FIELD: parse_calibration,
    RANGE: _as_written(parse_range),
    MEAN: _as_written(parse_mean),
    DEVIATION: _as_written(parse_deviation),
    TARGET: parse_target,
    THREADS: parse_threads,
}
"""The parser of each form field.

Each can refuse its field before the rest of a form has arrived.
"""

ADVICE_FIELDS = (ALLOW_INCOMPLETE, "input_shape", FIELD, RANGE, MEAN, DEVIATION)
"""The form fields of an advice: those that do not say how to compress."""

_MEMBERS = tuple(name for name in FIELD_PARSERS if name not in KINDS)
