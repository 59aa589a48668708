"""A report: its costs, its times, its measures and its risk."""

from collections.abc import Callable

from rich.console import Group
from rich.table import Table
from rich.text import Text

from convpress.evaluation import kind_of
from convpress.report import Cost, Report, Spread
from convpress.text.quantities import amount, percent, size
from worker.cli.render.incomplete import incomplete, restored, sized_by_values
from worker.cli.render.layer_tables import sites
from worker.cli.render.tables import milliseconds_text, new_table, plain


def account(report: Report) -> Group:
    """Return a report: every layer, the costs, and the risk."""
    above = (
        *incomplete(report),
        *restored(report),
        *sized_by_values(report),
        *_remark(report),
        *_evaluation(report),
        *_tried(report),
    )
    return Group(*above, sites(report), summary(report), evidence(report))


def evidence(report: Report) -> Group:
    """Return the method of the times and the risk, a line each."""
    risk = plain(f"risk {report.risk.level}: {report.risk.text}")
    return Group(*_timing(report), risk)


def _remark(report: Report) -> list[Text]:
    """Return the report's remark on its budget, such as that nothing was compressed."""
    note = report.budget.get("note")
    return [plain(f"WARNING: {note}")] if note else []


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
    return [plain(line)]


def _tried(report: Report) -> list[Text | Table]:
    """Return the budgets that the search for a promise tried; none without one."""
    if not report.tried:
        return []
    numbers = [(name, "right") for name in ("FLOPs kept", "figure", "lost")]
    table = new_table("tried", *numbers, "promise")
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
    return [plain(promise), table]


def _timing(report: Report) -> list[Text]:
    """Return the lines on the method of the times; none from versions that do not give it."""
    timing = report.timing
    if timing is None:
        return []
    runs = f"{timing.before.runs} and {timing.after.runs} runs {timing.method}"
    threads = "1 thread" if timing.threads == 1 else f"{timing.threads} threads"
    lines = [
        f"times: medians and quartiles of {runs}, on {threads} of {timing.runtime}"
    ]
    if timing.note is not None:
        lines.append(f"no times by the clock: {timing.note}")
    return [plain(line) for line in lines]


def summary(report: Report) -> Table:
    """Return the costs before and after."""
    table = new_table("", ("before", "right"), ("after", "right"), ("kept", "right"))
    for name, before, after, written in _costs(report.before, report.after):
        kept = percent(after / before) if before else ""
        table.add_row(name, written(before), written(after), kept)
    for row in _times(report):
        table.add_row(*row)
    if report.latency is not None:
        table.add_row(
            "expected", "", milliseconds_text(report.latency.expected_after_ms), ""
        )
    return table


def _costs(
    before: Cost, after: Cost
) -> list[tuple[str, int, int, Callable[[float], str]]]:
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
        before_ms = milliseconds_text(report.before.latency_ms)
        return [("latency", before_ms, milliseconds_text(report.after.latency_ms), "")]
    before, after = timing.before, timing.after
    kept = ""
    if before.processor.median_ms:
        kept = percent(after.processor.median_ms / before.processor.median_ms)
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
