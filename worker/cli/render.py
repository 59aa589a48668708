"""Reports, inspections and lists as tables for a terminal."""

import json
import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from convpress.advice import Advice
from convpress.budgets import KINDS
from convpress.evaluation import kind_of
from convpress.precision import FLOAT
from convpress.quantities import about, amount, milliseconds, percent, size
from convpress.report import Cost, Inspection, Report, Site, Spread
from convpress.schemas import Job

if TYPE_CHECKING:  # `submit` renders too, where neither server nor engine are installed
    from app.auth.keys import ApiKey
    from worker.sandbox.doctor import Check

_MOST_LINES = 10
_KEY_TIMES = ("created_at", "used_at", "expires_at", "revoked_at")


def account(report: Report) -> Group:
    """Return a report: every layer, the costs, and the risk."""
    above = (*_incomplete(report), *_remark(report), *_evaluation(report), *_tried(report))
    return Group(*above, sites(report), summary(report), evidence(report))


def evidence(report: Report) -> Group:
    """Return the method of the times and the risk, a line each."""
    risk = _plain(f"risk {report.risk.level}: {report.risk.text}")
    return Group(*_timing(report), risk)


def _remark(report: Report) -> list[Text]:
    """Return the report's remark on its budget, such as that nothing was compressed."""
    note = report.budget.get("note")
    return [_plain(f"WARNING: {note}")] if note else []


def _incomplete(account: Report | Inspection) -> list[Text]:
    """Return the lines on the operators that an account leaves out; none where it is complete."""
    if account.account_complete:
        return []
    number = len(account.unaccounted)
    operators = "operator" if number == 1 else "operators"
    lines = [f"The account is INCOMPLETE: it leaves out {number} {operators} of unknown cost."]
    shown = account.unaccounted[:_MOST_LINES]
    lines.extend(f"  {each.operator} {each.name}: {each.reason}" for each in shown)
    if number > _MOST_LINES:
        lines.append(f"  and {number - _MOST_LINES} more")
    return [_plain(line) for line in lines]


def _evaluation(report: Report) -> list[Text]:
    """Return the line of the user's own metric; none without an evaluation."""
    evaluation = report.evaluation
    if evaluation is None:
        return []
    kind = kind_of(evaluation.metric)
    before, after = kind.text(evaluation.before), kind.text(evaluation.after)
    line = f"{kind.label}: {before} before, {after} after"
    if evaluation.count is not None:
        line += f", on {evaluation.count} samples"
    return [_plain(line)]


def _tried(report: Report) -> list[Text | Table]:
    """Return the budgets that the search for a promise tried; none without one."""
    if not report.tried:
        return []
    numbers = [(name, "right") for name in ("FLOPs kept", "figure", "lost")]
    table = _table("tried", *numbers, "promise")
    for each in report.tried:
        kind = kind_of(each.metric)
        table.add_row(
            each.budget,
            "unreachable" if each.keep is None else percent(each.keep),
            each.level or ("" if each.figure is None else kind.text(each.figure)),
            "" if each.loss is None else kind.text(each.loss),
            "kept" if each.kept else "not kept",
        )
    label = kind_of(report.tried[0].metric).label
    promise = f"{report.budget.get('promise')}, by the {label}"
    return [_plain(promise), table]


def _timing(report: Report) -> list[Text]:
    """Return the lines on the method of the times; none from versions that do not give it."""
    timing = report.timing
    if timing is None:
        return []
    runs = f"{timing.before.runs} and {timing.after.runs} runs {timing.method}"
    threads = "1 thread" if timing.threads == 1 else f"{timing.threads} threads"
    lines = [f"times: medians and quartiles of {runs}, on {threads} of {timing.runtime}"]
    if timing.note is not None:
        lines.append(f"no times by the clock: {timing.note}")
    return [_plain(line) for line in lines]


def summary(report: Report) -> Table:
    """Return the costs before and after."""
    table = _table("", ("before", "right"), ("after", "right"), ("kept", "right"))
    for name, before, after, written in _costs(report.before, report.after):
        kept = percent(after / before) if before else ""
        table.add_row(name, written(before), written(after), kept)
    for row in _times(report):
        table.add_row(*row)
    if report.latency is not None:
        table.add_row("expected", "", _milliseconds(report.latency.expected_after_ms), "")
    return table


def sites(report: Report) -> Group:
    """Return one row a layer: what it was, and what replaced it; the reasons follow, each once."""
    numbers = [(name, "right") for name in ("rank", "MACs", "after", "error", "note")]
    table = _table("layer", "weight", "form", *numbers)
    notes = _Notes()
    for site in report.sites:
        table.add_row(
            _plain(site.name),
            _shape(site.weight_shape),
            _form(site),
            _rank(site.rank),
            amount(site.macs_before),
            amount(site.macs_after),
            percent(site.error) if site.error else "",
            notes.mark(site.reason),
        )
    return Group(table, *notes.lines())


def advice(advice: Advice) -> Group:
    """Return one row a way to compress the model, and the advice."""
    table = _table(
        "way",
        *((name, "right") for name in ("FLOPs kept", "file", "ms", "time kept", "error")),
        *((name, "right") for name in ("expected loss", "risk")),
    )
    original = (size(advice.bytes), milliseconds(advice.milliseconds))
    table.add_row("as it is", "", *original, "", "", "", "")
    for each in advice.options:
        if each.refusal is not None:
            table.add_row(each.name, _plain(each.refusal), "", "", "", "", "", "")
            continue
        table.add_row(
            each.name,
            "" if each.keep is None else percent(each.keep),
            "" if each.bytes is None else size(each.bytes),
            _milliseconds(each.milliseconds),
            "" if each.time_kept is None else percent(each.time_kept),
            "" if each.relative_error is None else percent(each.relative_error),
            "" if each.expected_loss is None else percent(each.expected_loss.expected),
            each.risk or "",
        )
    return Group(table, _plain(advice.text))


def _form(site: Site) -> Text:
    """Return the form of a site, its variant, and whether it is in int8."""
    words = [site.form, site.variant, "int8" if site.int8 else None]
    return _plain(" ".join(word for word in words if word))


def inspection(model: Inspection) -> Group:
    """Return one row a layer: its weight and its cost; why some stay as they are follows."""
    table = _table(
        "layer", "op", "weight", ("MACs", "right"), ("calls", "right"), ("note", "right")
    )
    notes = _Notes()
    for site in model.sites:
        table.add_row(
            _plain(site.name),
            _plain(site.op),
            _shape(site.weight_shape),
            amount(site.macs),
            str(site.calls),
            notes.mark(site.reason),
        )
    return Group(table, *notes.lines())


class _Notes:
    """The reasons of a table's rows, numbered in the order in which they appear."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def mark(self, reason: str | None) -> str:
        """Return the number of a reason; empty for none."""
        if not reason:
            return ""
        return str(self._numbers.setdefault(reason, len(self._numbers) + 1))

    def lines(self) -> list[Text]:
        """Return a line a reason."""
        return [_plain(f"{number}: {reason}") for reason, number in self._numbers.items()]


def _costs(before: Cost, after: Cost) -> list[tuple[str, int, int, Callable[[float], str]]]:
    """Return the costs by name, with the function that writes each."""
    integers = []
    if before.integer_operations or after.integer_operations:
        counts = before.integer_operations, after.integer_operations
        integers.append(("of them in int8", *counts, amount))
    return [
        ("MACs", before.macs, after.macs, amount),
        ("FLOPs", before.flops, after.flops, amount),
        *integers,
        ("parameters", before.parameters, after.parameters, amount),
        ("file", before.bytes, after.bytes, size),
    ]


def _times(report: Report) -> list[tuple[str, str, str, str]]:
    """Return the measured times before and after, by the clock and by the processor."""
    timing = report.timing
    if timing is None:
        before_ms = _milliseconds(report.before.latency_ms)
        return [("latency", before_ms, _milliseconds(report.after.latency_ms), "")]
    before, after = timing.before, timing.after
    kept = ""
    if before.processor.median_ms:
        kept = f"{after.processor.median_ms / before.processor.median_ms:.1%}"
    return [
        ("latency", _spread(before.clock), _spread(after.clock), ""),
        ("processor time", _spread(before.processor), _spread(after.processor), kept),
    ]


def _spread(spread: Spread | None) -> str:
    """Return a median with its quartiles; the clock has none on a busy host."""
    if spread is None:
        return "host busy"
    quartiles = f"{spread.lower_quartile_ms:.3g} to {spread.upper_quartile_ms:.3g}"
    return f"{spread.median_ms:.3g} ms ({quartiles})"


def _milliseconds(latency: float | None) -> str:
    return "?" if latency is None else milliseconds(latency)


def job(job: Job) -> Table:
    """Return a job's state, budgets and result, a line each."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_row("job", str(job.id))
    table.add_row("state", _plain(_state(job)))
    if job.eta_seconds is not None:
        table.add_row("time left", f"about {about(job.eta_seconds)}")
    table.add_row("model", _plain(job.model.filename))
    table.add_row("budget", _plain(_budgets(job)))
    table.add_row("created", _minute(job.created_at))
    if job.result is not None:
        if (evaluation := job.result.evaluation) is not None:
            kind = kind_of(evaluation.metric)
            before, after = kind.text(evaluation.before), kind.text(evaluation.after)
            table.add_row(_plain(kind.label), f"{before}, {after} after")
        before, after = amount(job.result.macs_before), amount(job.result.macs_after)
        table.add_row("MACs", f"{before}, {after} after, {percent(job.result.keep)} kept")
        table.add_row("artifact", size(job.result.artifact.bytes))
    if job.error is not None:
        table.add_row("error", _plain(f"{job.error.code}: {job.error.detail}"))
    return table


def jobs(jobs: Sequence[Job]) -> Table:
    """Return two lines a job, within 80 columns; times are UTC."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    # whole, to be copied
    table.add_column("id, created", no_wrap=True)
    table.add_column("model, state, budget", overflow="fold")
    for job in jobs:
        facts = [_state(job), f"budget {_budgets(job)}"]
        if job.result is not None:
            facts.append(f"{percent(job.result.keep)} kept")
        about = Text("\n").join([_plain(job.model.filename), _plain(", ".join(facts))])
        table.add_row(f"{job.id}\n{_minute(job.created_at)}", about)
    return table


def _state(job: Job) -> str:
    """Return a job's state, with its phase and progress while it runs."""
    if job.state != "running":
        return job.state
    return f"{job.phase or job.state} {job.progress:.0%}"


def _budgets(job: Job) -> str:
    """Return a job's budgets as they were sent."""
    texts = [] if job.max_loss is None else [f"loss {job.max_loss}"]
    for field, kind in KINDS.items():
        text = getattr(job, field)
        if text is not None:
            texts.append(f"{kind.quantity} {text}")
    if job.precision != FLOAT:
        texts.append(f"precision {job.precision}")
    return ", ".join(texts)


def as_json(records: Sequence[Job]) -> str:
    """Return jobs as a JSON array."""
    return json.dumps([record.model_dump(mode="json") for record in records], indent=2)


def walls(walls: "Sequence[Check]") -> Table:
    """Return one row a wall of the sandbox: its promise, its state, and what was observed."""
    table = _table("wall", "promise", "", "seen")
    for wall in walls:
        state = "stands" if wall.holds else "MISSING"
        table.add_row(wall.name, wall.promise, state, _plain(wall.evidence))
    return table


def keys(keys: "Sequence[ApiKey]") -> Table:
    """Return one row a key, without its secret; times are UTC."""
    table = _table("id", "owner", "scopes", "created", "last used", "expires", "revoked")
    for key in keys:
        times = (key.created_at, key.used_at, key.expires_at, key.revoked_at)
        table.add_row(key.id, key.owner, key.scopes, *(_minute(time) for time in times))
    return table


def keys_as_json(keys: "Sequence[ApiKey]") -> str:
    """Return keys, without their secrets, as a JSON array; times are UTC, in ISO 8601."""
    records = []
    for key in keys:
        times = {name: getattr(key, name) for name in _KEY_TIMES}
        written = {name: time.isoformat() if time else None for name, time in times.items()}
        records.append({"id": key.id, "owner": key.owner, "scopes": key.scopes.split(), **written})
    return json.dumps(records, indent=2)


def _minute(time: datetime | None) -> str:
    return f"{time:%Y-%m-%d %H:%M}" if time else ""


def _table(*columns: str | tuple[str, str]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        name, justify = column if isinstance(column, tuple) else (column, "left")
        if justify == "right":
            table.add_column(name, justify="right", no_wrap=True)
        else:
            # folded and never cut: the ends of layers' names tell them apart
            table.add_column(name, overflow="fold")
    return table


def _plain(text: str | None) -> Text:
    """Return text from a model as plain text: no markup, no control characters of a terminal."""
    printable = [char if char.isprintable() else "?" for char in text or ""]
    return Text("".join(printable))


def _shape(sizes: Sequence[int]) -> str:
    return "x".join(map(str, sizes))


def _rank(rank: int | list[int] | None) -> str:
    if rank is None:
        return ""
    # tucker2 has a rank for each side
    if isinstance(rank, list):
        return _shape(rank)
    return str(rank)


def overview(model: Inspection) -> Group:
    """Return a model's format, inputs, outputs and size."""
    return Group(*_incomplete(model), _facts(model))


def _facts(model: Inspection) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_row("format", model.format)
    for name, tensors in (("input", model.inputs), ("output", model.outputs)):
        for tensor in tensors:
            table.add_row(name, _plain(f"{tensor.name}: {tensor.dtype} {_declared(tensor.shape)}"))
    table.add_row("parameters", amount(model.parameters))
    table.add_row("file", size(model.bytes))
    table.add_row("MACs", "?" if model.macs is None else amount(model.macs))
    if model.uncounted:
        operators = ", ".join(f"{op} {number}" for op, number in model.uncounted.items())
        table.add_row("not counted", _plain(operators))
    return table


def _declared(shape: str | None) -> str:
    if shape is None:
        return "of unknown shape"
    return shape or "without axes"


def console() -> Console:
    """Return the terminal, or a wide console where standard output is none."""
    if sys.stdout.isatty():
        return Console()
    # rich would fold lines for a file or a pipe at 80 columns
    return Console(width=160)
