"""Reports, inspections and lists as tables for a terminal."""

import json
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from convpress.budgets import KINDS
from convpress.report import Cost, Inspection, Report, Spread
from convpress.schemas import Job

if TYPE_CHECKING:  # `submit` renders too, where neither server nor engine are installed
    from app.auth.keys import ApiKey
    from worker.sandbox.doctor import Check

_MOST_LINES = 10
_SCALES = (("T", 10**12), ("G", 10**9), ("M", 10**6), ("k", 10**3))


def amount(number: int | None) -> str:
    """Return a count in four digits; a question mark where it is not known.

    >>> amount(15470264320), amount(812), amount(None)
    ('15.47 G', '812', '?')
    """
    if number is None:
        return "?"
    for name, scale in _SCALES:
        if number >= scale:
            return f"{number / scale:.4g} {name}"
    return str(number)


def account(report: Report) -> Group:
    """Return a report: every layer, the costs, and the risk."""
    risk = _plain(f"risk {report.risk.level}: {report.risk.text}")
    return Group(*_incomplete(report), sites(report), summary(report), *_timing(report), risk)


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
    for name, before, after in _costs(report.before, report.after):
        kept = f"{after / before:.1%}" if before else ""
        table.add_row(name, amount(before), amount(after), kept)
    for row in _times(report):
        table.add_row(*row)
    if report.latency is not None:
        table.add_row("expected", "", _milliseconds(report.latency.expected_after_ms), "")
    return table


def sites(report: Report) -> Table:
    """Return one row a layer: what it was, and what replaced it."""
    numbers = [(name, "right") for name in ("rank", "MACs", "after", "error")]
    table = _table("convolution", "op", "weight", "form", *numbers, "why not")
    for site in report.sites:
        table.add_row(
            _plain(site.name),
            _plain(site.op),
            _shape(site.weight_shape),
            _plain(f"{site.form or ''} {site.variant or ''}".strip()),
            _rank(site.rank),
            amount(site.macs_before),
            amount(site.macs_after),
            f"{site.error:.2%}" if site.error else "",
            _plain(site.reason),
        )
    return table


def inspection(model: Inspection) -> Table:
    """Return one row a layer: its weight, its cost, and why it stays as it is."""
    table = _table("convolution", "op", "weight", ("MACs", "right"), ("calls", "right"), "why not")
    for site in model.sites:
        table.add_row(
            _plain(site.name),
            _plain(site.op),
            _shape(site.weight_shape),
            amount(site.macs),
            str(site.calls),
            _plain(site.reason),
        )
    return table


def _costs(before: Cost, after: Cost) -> list[tuple[str, int, int]]:
    return [
        ("MACs", before.macs, after.macs),
        ("FLOPs", before.flops, after.flops),
        ("parameters", before.parameters, after.parameters),
        ("bytes", before.bytes, after.bytes),
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
    return "?" if latency is None else f"{latency:.3g} ms"


def job(job: Job) -> Table:
    """Return a job's state, budgets and result, a line each."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_row("job", str(job.id))
    table.add_row("state", _plain(_state(job)))
    table.add_row("model", _plain(job.model.filename))
    table.add_row("budget", _plain(_budgets(job)))
    table.add_row("created", _minute(job.created_at))
    if job.result is not None:
        before, after = amount(job.result.macs_before), amount(job.result.macs_after)
        table.add_row("MACs", f"{before}, {after} after, {job.result.keep:.1%} kept")
        table.add_row("artifact", amount(job.result.artifact.bytes) + "B")
    if job.error is not None:
        table.add_row("error", _plain(f"{job.error.code}: {job.error.detail}"))
    return table


def jobs(jobs: Sequence[Job]) -> Table:
    """Return one row a job; times are UTC."""
    table = _table("id", "state", "model", "budget", ("kept", "right"), "created")
    for job in jobs:
        kept = "" if job.result is None else f"{job.result.keep:.1%}"
        model, budgets = _plain(job.model.filename), _plain(_budgets(job))
        created = _minute(job.created_at)
        table.add_row(str(job.id), _plain(_state(job)), model, budgets, kept, created)
    return table


def _state(job: Job) -> str:
    """Return a job's state, with its phase and progress while it runs."""
    if job.state != "running":
        return job.state
    return f"{job.phase or job.state} {job.progress:.0%}"


def _budgets(job: Job) -> str:
    """Return a job's budgets as they were sent."""
    texts = []
    for field, kind in KINDS.items():
        text = getattr(job, field)
        if text is not None:
            texts.append(f"{kind.quantity} {text}")
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


def _minute(time: datetime | None) -> str:
    return f"{time:%Y-%m-%d %H:%M}" if time else ""


def _table(*columns: str | tuple[str, str]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        name, justify = column if isinstance(column, tuple) else (column, "left")
        # folded and never cut: the ends of layers' names tell them apart
        table.add_column(name, justify="right" if justify == "right" else "left", overflow="fold")
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
    table.add_row("bytes", amount(model.bytes))
    table.add_row("MACs", amount(model.macs))
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
