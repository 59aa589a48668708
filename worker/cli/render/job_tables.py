"""Jobs: one with all its facts, and many in a list."""

import json
from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from convpress.budgets import KINDS
from convpress.evaluation import kind_of
from convpress.options import COMPRESSION
from convpress.precision import FLOAT
from convpress.schemas import Job
from convpress.text.quantities import about, amount, percent, size
from worker.cli.render.tables import minute, plain


def job(job: Job) -> Table:
    """Return a job's state, budgets and result, a line each."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_row("job", str(job.id))
    table.add_row("state", plain(_state(job)))
    if job.eta_seconds is not None:
        table.add_row("time left", f"about {about(job.eta_seconds)}")
    table.add_row("model", plain(job.model.filename))
    if job.kind == COMPRESSION:
        table.add_row("budget", plain(_budgets(job)))
    if job.advice is not None:
        table.add_row("advice", plain(job.advice.text))
    if job.labels:
        labels = [f"{name}={value}" for name, value in job.labels.items()]
        table.add_row("labels", plain(", ".join(labels)))
    if job.note:
        table.add_row("note", plain(job.note))
    table.add_row("created", minute(job.created_at))
    if job.result is not None:
        if (evaluation := job.result.evaluation) is not None:
            kind = kind_of(evaluation.metric)
            before, after = kind.text(evaluation.before), kind.text(evaluation.after)
            table.add_row(plain(kind.label), f"{before}, {after} after")
        before, after = amount(job.result.macs_before), amount(job.result.macs_after)
        table.add_row(
            "MACs", f"{before}, {after} after, {percent(job.result.keep)} kept"
        )
        table.add_row("artifact", size(job.result.artifact.bytes))
    if job.error is not None:
        table.add_row("error", plain(f"{job.error.code}: {job.error.detail}"))
    return table


def jobs(jobs: Sequence[Job]) -> Table:
    """Return two lines a job, within 80 columns; times are UTC."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    # whole, to be copied
    table.add_column("id, created", no_wrap=True)
    table.add_column("model, state, budget", overflow="fold")
    for job in jobs:
        facts = [_state(job), _purpose(job)]
        if job.result is not None:
            facts.append(f"{percent(job.result.keep)} kept")
        about = Text("\n").join([plain(job.model.filename), plain(", ".join(facts))])
        table.add_row(f"{job.id}\n{minute(job.created_at)}", about)
    return table


def as_json(records: Sequence[Job]) -> str:
    """Return jobs as a JSON array."""
    return json.dumps([record.model_dump(mode="json") for record in records], indent=2)


def _state(job: Job) -> str:
    """Return a job's state, with its phase and progress while it runs."""
    if job.state != "running":
        return job.state
    return f"{job.phase or job.state} {job.progress:.0%}"


def _purpose(job: Job) -> str:
    """Return the purpose of a job: its budgets, or advice."""
    return f"budget {_budgets(job)}" if job.kind == COMPRESSION else job.kind


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
