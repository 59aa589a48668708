"""The pages of the demonstration's tour: before and after in one table, and where to go on."""

from collections.abc import Sequence
from typing import NamedTuple

from rich.box import SIMPLE_HEAD
from rich.table import Table

from convpress.report import Report, measured_ms
from convpress.text.quantities import amount, milliseconds, size


class Accuracy(NamedTuple):
    """The number of test images, and how many of them original and artifact name rightly."""

    images: int
    before: int
    after: int


def comparison(report: Report, accuracy: Accuracy | None) -> Table:
    """Return accuracy, FLOPs, time and size before and after; None has no row for accuracy."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    for name in ("before", "after", "change"):
        table.add_column(name, justify="right", no_wrap=True)
    if accuracy is not None:
        before, after = (
            accuracy.before / accuracy.images,
            accuracy.after / accuracy.images,
        )
        points = f"{100 * (after - before):+.2f} points"
        table.add_row(
            "accuracy", f"{100 * before:.2f} %", f"{100 * after:.2f} %", points
        )
    before_cost, after_cost = report.before, report.after
    rows = (
        ("FLOPs", before_cost.flops, after_cost.flops, amount),
        ("parameters", before_cost.parameters, after_cost.parameters, amount),
        ("file", before_cost.bytes, after_cost.bytes, size),
    )
    for name, old, new, written in rows:
        table.add_row(name, written(old), written(new), _change(old, new))
    old_ms, new_ms = measured_ms(report)
    if old_ms is not None and new_ms is not None:
        change = _change(old_ms, new_ms)
        table.add_row(
            "time of a run", milliseconds(old_ms), milliseconds(new_ms), change
        )
    return table


def _change(before: float, after: float) -> str:
    """Return a change in per cent.

    >>> _change(200, 100), _change(0.1, 0.12), _change(0, 0)
    ('-50.0 %', '+20.0 %', '')
    """
    return f"{100 * (after / before - 1):+.1f} %" if before else ""


def accuracy_line(accuracy: Accuracy | None) -> str:
    """Return the method of the measured accuracy, or the reason for its absence."""
    if accuracy is None:
        return "accuracy: not measured, since no test images come with this model"
    return (
        f"accuracy: {accuracy.before} and {accuracy.after} of {accuracy.images} test images are "
        "named rightly; neither training nor compression has seen them"
    )


def clicks(url: str, job_id: object, model_sha256: str) -> Sequence[tuple[str, str]]:
    """Return addresses to open in a browser, each with what it shows."""
    return (
        (
            f"{url}/dashboard/jobs/{job_id}",
            "this job: its figures, its layers, other budgets",
        ),
        (f"{url}/dashboard/models/{model_sha256}", "the model, and all of its jobs"),
        (f"{url}/", "all jobs, and the form to post your own model"),
        (f"{url}/docs", "the API, to try it out"),
    )


def commands(url: str, model: object, job_id: object, fields: str) -> Sequence[str]:
    """Return the same steps as commands; `fields` are the fields of curl's form."""
    return (
        f"curl -s -F model=@{model} {fields} {url}/jobs",
        f"curl -s {url}/jobs/{job_id}",
        f"curl -s {url}/jobs/{job_id}/report",
        f"curl -OJ {url}/jobs/{job_id}/artifact",
    )
