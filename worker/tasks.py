"""The task: claim one job, run it in a child process, and commit how it ended."""

import os
import shutil
import uuid
from pathlib import Path
from typing import cast

import structlog

from app.db import transaction
from app.models import Job
from app.queue import TASK, ring
from app.settings import Settings, get_settings
from app.storage import get_storage
from contract.container import Format
from contract.refusal import Code, Refusal
from worker import doctor, results, sandbox
from worker import lease as leases
from worker.celery_app import celery, stopping
from worker.engine.request import Request
from worker.heartbeat import Heartbeat
from worker.lease import Lease, Result
from worker.messages import Failed, MalformedOutput, Progress, Succeeded
from worker.sandbox import Lost, Outcome, Stopped, TimedOut
from worker.scratch import scratch, scratch_root
from worker.sweeper import worker_lost

SUFFIX = {"onnx": ".onnx", "torchscript": ".pt"}

log = structlog.get_logger(__name__)


@celery.task(name=TASK)  # type: ignore[untyped-decorator]  # Celery ships no types
def compress(job_id: str) -> None:
    """Work on a job until it ends, or until it is somebody else's; safe to be called any number of times."""
    if stopping.is_set():
        return
    settings = get_settings()
    with transaction() as session:
        lease = leases.claim(session, uuid.UUID(job_id), leases.new_owner(), settings.lease_seconds)
        job = session.get_one(Job, lease.job_id) if lease else None
    if lease is None or job is None:
        log.info("nothing to claim", job_id=job_id)
        return
    log.info("claimed", job_id=job_id, attempt=lease.attempt)
    heartbeat = Heartbeat(lease, settings.lease_seconds)
    outcome = _work(job, heartbeat, settings)
    if not heartbeat.held:
        log.warning("lease lost", job_id=job_id)
        return
    _end(lease, outcome, settings)


def _work(job: Job, heartbeat: Heartbeat, settings: Settings) -> Outcome | Result:
    with scratch(scratch_root(settings.data_dir)) as folder:
        name = f"model{SUFFIX[job.model.format]}"
        confinement = doctor.confined(
            folder / "work",
            readable=folder / "input",
            writable=(folder / "output",),
            memory_bytes=settings.job_memory_bytes,
            file_bytes=settings.max_upload_bytes,
        )
        source = get_storage().path(f"models/{job.model_sha256}")
        _place(source, folder / "input" / name, writable=not confinement.landlock)
        request = Request(
            model=str(folder / "input" / name),
            format=cast("Format", job.model.format),
            output=str(folder / "output" / name),
            report=str(folder / "output" / "report.json"),
            flops_budget=job.flops_budget,
            input_shape=job.input_shape,
            limits=settings.limits,
        )
        outcome = sandbox.run(
            sandbox.ENGINE,
            [request.to_json()],
            confinement,
            seconds=settings.job_timeout_seconds,
            on_progress=heartbeat.report,
            wanted=lambda: heartbeat.beat() and not stopping.is_set(),
        )
        if not isinstance(outcome, Succeeded):
            return outcome
        heartbeat.report(Progress("storing", 0.95))
        try:
            return results.store(
                Path(request.output),
                Path(request.report),
                request.format,
                largest=settings.max_upload_bytes,
                limits=settings.limits,
                storage=get_storage(),
                beat=heartbeat.beat,
            )
        except MalformedOutput as error:
            return Lost(str(error), log="")


def _place(model: Path, target: Path, *, writable: bool) -> None:
    """Put the upload before the child: linked where it cannot be written to and one disk has both, else copied."""
    if writable:
        shutil.copyfile(model, target)
        return
    try:
        os.link(model, target)
    except OSError:
        shutil.copyfile(model, target)


def _end(lease: Lease, outcome: Outcome | Result, settings: Settings) -> None:
    """Commit how the job ended, or that it waits again; whatever a worker without the lease commits is nothing."""
    waits = isinstance(outcome, Stopped) or (isinstance(outcome, Lost) and lease.attempt < settings.max_attempts)
    with transaction() as session:
        match outcome:
            case Result():
                held = leases.succeed(session, lease, outcome)
            case Failed():
                held = leases.fail(session, lease, outcome.error)
            case TimedOut():
                held = leases.fail(session, lease, _timed_out(outcome))
            case _ if waits:
                held = leases.give_back(session, lease, blameless=isinstance(outcome, Stopped))
            case _:
                held = leases.fail(session, lease, worker_lost(lease.attempt))
    told = log.info if isinstance(outcome, Result) else log.warning
    told("ended" if held else "lease lost at the end", job_id=str(lease.job_id), outcome=outcome)
    if held and waits and not stopping.is_set():  # a worker that has to go would hear its own ring
        ring(lease.job_id)


def _timed_out(outcome: TimedOut) -> dict[str, str]:
    detail = f"the job was not done after {outcome.seconds:g} seconds, the longest that this service lets one run"
    return Refusal(Code.JOB_TIMEOUT, detail).as_dict()
