"""Reports and inspections as people read them in a terminal."""

import sys
from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from app.auth.keys import ApiKey
from convpress.report import Cost, Inspection, Report
from worker.sandbox.doctor import Check

_SCALES = (("T", 10**12), ("G", 10**9), ("M", 10**6), ("k", 10**3))


def amount(number: int | None) -> str:
    """Shorten a count to four digits.

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
    """Return the whole account: every convolution, the costs, and how far the result may be trusted."""
    return Group(
        sites(report), summary(report), _plain(f"risk {report.risk.level}: {report.risk.text}")
    )


def summary(report: Report) -> Table:
    """Return what the model cost before and after."""
    table = _table("", ("before", "right"), ("after", "right"), ("kept", "right"))
    for name, before, after in _costs(report.before, report.after):
        table.add_row(
            name, amount(before), amount(after), f"{after / before:.1%}" if before else ""
        )
    latencies = report.before.latency_ms, report.after.latency_ms
    table.add_row(
        "latency", *("?" if value is None else f"{value:.3g} ms" for value in latencies), ""
    )
    if report.latency is not None:
        expected = report.latency.expected_after_ms
        table.add_row("expected", "", "?" if expected is None else f"{expected:.3g} ms", "")
    return table


def sites(report: Report) -> Table:
    """Return what became of every convolution."""
    table = _table(
        "convolution", "op", "weight", "form", ("rank", "right"), ("MACs", "right"), ("after", "right"),
        ("error", "right"), "why not",
    )  # fmt: skip
    for site in report.sites:
        table.add_row(
            _plain(site.name),
            _plain(site.op),
            _shape(site.weight_shape),
            _plain(" ".join(filter(None, (site.form, site.variant)))),
            _rank(site.rank),
            amount(site.macs_before),
            amount(site.macs_after),
            "" if not site.error else f"{site.error:.2%}",
            _plain(site.reason),
        )
    return table


def inspection(found: Inspection) -> Table:
    """Return every convolution of a model, and what it costs."""
    table = _table("convolution", "op", "weight", ("MACs", "right"), ("calls", "right"), "why not")
    for site in found.sites:
        table.add_row(
            _plain(site.name), _plain(site.op), _shape(site.weight_shape), amount(site.macs), str(site.calls),
            _plain(site.reason),
        )  # fmt: skip
    return table


def _costs(before: Cost, after: Cost) -> list[tuple[str, int, int]]:
    return [
        (name, getattr(before, name.lower()), getattr(after, name.lower()))
        for name in ("MACs", "FLOPs", "parameters", "bytes")
    ]


def walls(found: Sequence[Check]) -> Table:
    """Return which walls stand around a model, and what was seen."""
    table = _table("wall", "promise", "", "seen")
    for wall in found:
        table.add_row(
            wall.name, wall.promise, "stands" if wall.holds else "MISSING", _plain(wall.evidence)
        )
    return table


def keys(found: Sequence[ApiKey]) -> Table:
    """Return the keys of a service, without their secrets."""
    table = _table("id", "owner", "scopes", "created", "revoked")
    for key in found:
        revoked = f"{key.revoked_at:%Y-%m-%d %H:%M}" if key.revoked_at else ""
        table.add_row(key.id, key.owner, key.scopes, f"{key.created_at:%Y-%m-%d %H:%M}", revoked)
    return table


def _table(*columns: str | tuple[str, str]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        name, justify = column if isinstance(column, tuple) else (column, "left")
        table.add_column(name, justify="right" if justify == "right" else "left", overflow="fold")
    return table


def _plain(text: str | None) -> Text:
    """Show a model's own text as text: neither markup nor the terminal's control characters."""
    return Text("".join(char if char.isprintable() else "?" for char in text or ""))


def _shape(sizes: Sequence[int]) -> str:
    return "x".join(map(str, sizes))


def _rank(rank: int | list[int] | None) -> str:
    return "" if rank is None else _shape(rank) if isinstance(rank, list) else str(rank)


def overview(found: Inspection) -> Table:
    """Return what a model is, in a few lines."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_row("format", found.format)
    for name, tensors in (("input", found.inputs), ("output", found.outputs)):
        for tensor in tensors:
            shape = "of unknown shape" if tensor.shape is None else tensor.shape or "without axes"
            table.add_row(name, _plain(f"{tensor.name}: {tensor.dtype} {shape}"))
    table.add_row("parameters", amount(found.parameters))
    table.add_row("bytes", amount(found.bytes))
    table.add_row("MACs", amount(found.macs))
    if found.uncounted:
        table.add_row(
            "not counted",
            _plain(", ".join(f"{op} {number}" for op, number in found.uncounted.items())),
        )
    return table


def console() -> Console:
    """Return a terminal, wide enough for the tables where standard output is none."""
    return Console() if sys.stdout.isatty() else Console(width=160)
