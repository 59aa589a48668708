"""The task: claim one job, run it in a child process, and commit how it ended."""

import errno
import shutil
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog
from sqlalchemy.exc import DBAPIError
from structlog.contextvars import bound_contextvars

from app import tracing
from app.db.models import Job
from app.db.session import transaction
from app.queue.celery_client import TASK, ring
from app.settings import Settings, get_settings
from app.storage import StorageUnavailable, get_storage, model_key, samples_key
from app.storage.local import free_bytes
from convpress.formats import FORMATS, named
from convpress.refusal import Code, Refusal
from worker.celery_app import celery, stopping
from worker.engine.request import Request
from worker.jobs import analysis_cache, cost_tables, inspections, results
from worker.queue import lease as leases
from worker.queue.heartbeat import Heartbeat, Lap
from worker.queue.lease import Lease, Result
from worker.queue.sweeper import timed_out, worker_lost
from worker.sandbox import doctor
from worker.sandbox import run as sandbox
from worker.sandbox.messages import Failed, MalformedOutput, Progress, Succeeded
from worker.sandbox.run import Lost, Outcome, Stopped, TimedOut
from worker.sandbox.scratch import scratch, scratch_root

_RETRY_SECONDS = 1.0
_LEAST_FREE_BYTES = 1024**2

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Away:
    """The artifact store did not answer."""


@dataclass(frozen=True)
class Full:
    """The disk of this worker or of the store took no more."""


End = Outcome | Result | Full | Away
_BLAMELESS = (Stopped, Away)
"""Ends for which no attempt is counted: the job and its child have done nothing wrong."""


@celery.task(name=TASK)  # type: ignore[untyped-decorator]  # Celery ships no types
def compress(job_id: str) -> None:
    """Work on a job until it ends, or until it is somebody else's; safe to be called any number of times."""
    if stopping.is_set():
        return
    with bound_contextvars(job_id=job_id):
        _take_up(uuid.UUID(job_id), get_settings())


def _take_up(job_id: uuid.UUID, settings: Settings) -> None:
    with transaction() as session:
        lease = leases.claim(session, job_id, leases.new_owner(), settings.lease_seconds)
        job = session.get_one(Job, lease.job_id) if lease else None
    if lease is None or job is None:
        log.info("nothing to claim")
        return
    attributes: dict[str, str | int] = {
        "convpress.job_id": str(job_id),
        "convpress.attempt": lease.attempt,
    }
    with (
        bound_contextvars(request_id=job.request_id, attempt=lease.attempt),
        tracing.span("job", kind="consumer", parent=job.traceparent, attributes=attributes),
    ):
        log.info("claimed")
        tracing.record("queue", job.created_at.timestamp(), time.time(), parent=job.traceparent)
        heartbeat = Heartbeat(lease, settings.lease_seconds)
        with heartbeat.beating():
            outcome = _work(job, heartbeat, settings)
        laps = heartbeat.laps()
        _trace(laps)
        if not heartbeat.held:
            log.warning("lease lost")
            return
        _end(lease, outcome, {phase: lap.seconds for phase, lap in laps.items()}, settings)


def _trace(laps: Mapping[str, Lap]) -> None:
    since_1970 = time.time() - time.monotonic()
    for phase, lap in laps.items():
        tracing.record(phase, since_1970 + lap.began, since_1970 + lap.ended)


def _work(job: Job, heartbeat: Heartbeat, settings: Settings) -> End:
    try:
        return _compress(job, heartbeat, settings)
    except StorageUnavailable as error:
        log.error("the store does not answer", error=str(error))
        return Away()
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        log.error("the disk is full", error=str(error))
        return Full()


def _compress(job: Job, heartbeat: Heartbeat, settings: Settings) -> Outcome | Result:
    with scratch(scratch_root(settings.data_dir)) as folder:
        name = f"model{FORMATS[named(job.model.format)].suffix}"
        confinement = doctor.confined(
            folder / "work",
            readable=(folder / "input",),
            writable=(folder / "output",),
            memory_bytes=settings.job_memory_bytes,
            file_bytes=settings.max_upload_bytes,
            device=settings.device,
        )
        try:
            _fetch(
                model_key(job.model_sha256),
                folder / "input" / name,
                writable=not confinement.landlock,
            )
        except FileNotFoundError:
            return Failed(_gone(job))
        samples = None if job.samples_sha256 is None else folder / "input" / "samples"
        if samples is not None:
            assert job.samples_sha256 is not None  # or there are no samples
            try:
                _fetch(samples_key(job.samples_sha256), samples, writable=not confinement.landlock)
            except FileNotFoundError:
                return Failed(_samples_gone(job))
        inspection = folder / "output" / "inspection.json"
        costs = cost_tables.known(settings, named(job.model.format))
        if costs is not None:  # a copy, so that what is read is what the analysis is filed under
            shutil.copyfile(costs, folder / "input" / "costs.json")
            costs = folder / "input" / "costs.json"
        analysis_key = analysis_cache.key_of(job, cost_tables.digest(costs))
        analysis, kept_analysis = folder / "input" / "analysis", folder / "output" / "analysis"
        try:
            _fetch(analysis_key, analysis, writable=not confinement.landlock)
        except FileNotFoundError:
            is_known = False
        else:
            is_known = True
        request = Request(
            model=str(folder / "input" / name),
            format=named(job.model.format),
            output=str(folder / "output" / name),
            report=str(folder / "output" / "report.json"),
            budgets=job.budgets,
            flops_at_any_price=job.flops_at_any_price,
            input_shape=job.input_shape,
            device=settings.device,
            limits=settings.limits,
            costs=None if costs is None else str(costs),
            calibration=job.calibration,
            samples=None if samples is None else str(samples),
            input_range=job.input_range,
            input_mean=job.input_mean,
            input_std=job.input_std,
            analysis=str(analysis) if is_known else None,
            kept_analysis=str(kept_analysis) if settings.analysis_bytes else None,
            largest_analysis=settings.analysis_bytes,
            inspection=str(inspection),
        )
        outcome = sandbox.run(
            sandbox.ENGINE,
            [request.to_json()],
            confinement,
            seconds=settings.job_timeout_seconds,
            on_progress=heartbeat.report,
            wanted=lambda: heartbeat.held and not stopping.is_set(),
        )
        if _had_no_room(outcome, folder):
            raise OSError(errno.ENOSPC, "the child had no room for what it wrote")
        ended = _take_over(job, request, outcome, heartbeat, settings)
        if isinstance(ended, Result | Failed):
            inspections.keep(job, inspection)
            analysis_cache.keep(
                get_storage(), job, analysis_key, kept_analysis, settings.analysis_bytes
            )
        return ended


def _had_no_room(outcome: Outcome, folder: Path) -> bool:
    """Whether a child failed for want of room: it said so, or died on a full disk, as those do that torch writes in."""
    if isinstance(outcome, Failed):
        return outcome.error["code"] == Code.STORAGE_FULL
    return isinstance(outcome, Lost) and free_bytes(folder) < _LEAST_FREE_BYTES


def _take_over(
    job: Job, request: Request, outcome: Outcome, heartbeat: Heartbeat, settings: Settings
) -> Outcome | Result:
    """Put what a child has made into the store, where it made something."""
    if not isinstance(outcome, Succeeded):
        return outcome
    heartbeat.report(Progress("storing", 0.95))
    try:
        return results.store(
            job.id,
            Path(request.output),
            Path(request.report),
            request.format,
            largest=settings.max_upload_bytes,
            limits=settings.limits,
            storage=get_storage(),
        )
    except MalformedOutput as error:
        return Lost(str(error), log="")


def _fetch(key: str, target: Path, *, writable: bool) -> None:
    """Put the upload before the child; as a copy where the child could write to it, which the store may have linked."""
    get_storage().fetch(key, target)
    if writable:
        copy = target.with_suffix(".copy")
        shutil.copyfile(target, copy)
        copy.replace(target)


def _end(lease: Lease, outcome: End, seconds: Mapping[str, float], settings: Settings) -> None:
    """Commit how the job ended, or that it waits again; whatever a worker without the lease commits is nothing.

    A database that is away is asked again until the lease has run out, and the work with it.
    """
    again = lease.attempt < settings.max_attempts
    waits = isinstance(outcome, _BLAMELESS) or (isinstance(outcome, Lost | Full) and again)
    deadline = time.monotonic() + settings.lease_seconds
    while True:
        try:
            held = _commit(lease, outcome, seconds, waits=waits)
            break
        except DBAPIError as error:
            if time.monotonic() > deadline:
                raise
            log.warning("the end of the job is not committed yet", error=str(error))
            time.sleep(_RETRY_SECONDS)
    _tell(outcome, held=held)
    # A worker that has to go would hear its own ring; where storage failed, the sweeper's comes late enough.
    if held and waits and not stopping.is_set() and not isinstance(outcome, Full | Away):
        ring(lease.job_id)


def _tell(outcome: End, *, held: bool) -> None:
    """Log how a job ended, and before that, line by line, what its child had to say beyond its messages."""
    said = dict(vars(outcome))
    for line in said.pop("log", "").splitlines():
        plain = "".join(
            char if char.isprintable() else "?" for char in line
        )  # a terminal may read it
        log.warning("the child wrote", line=plain)
    told = log.info if isinstance(outcome, Result) else log.warning
    told("ended" if held else "lease lost at the end", outcome=type(outcome).__name__, **said)


def _commit(lease: Lease, outcome: End, seconds: Mapping[str, float], *, waits: bool) -> bool:
    with transaction() as session:
        match outcome:
            case Result():
                return leases.succeed(session, lease, outcome, seconds)
            case Failed():
                return leases.fail(session, lease, outcome.error)
            case TimedOut():
                return leases.fail(session, lease, timed_out(outcome.seconds))
            case _ if waits:
                return leases.give_back(
                    session, lease, _reason(outcome), blameless=isinstance(outcome, _BLAMELESS)
                )
            case Full():
                return leases.fail(session, lease, _full(lease.attempt))
            case _:
                return leases.fail(session, lease, worker_lost(lease.attempt))


def _reason(outcome: End) -> str:
    match outcome:
        case Lost():
            return outcome.reason
        case Full():
            return "the disk is full"
        case Away():
            return "the artifact store does not answer"
        case _:
            return "the worker had to go"


def _gone(job: Job) -> dict[str, str]:
    detail = "the store no longer has the model of this job; upload it again"
    return Refusal(
        Code.MODEL_GONE, detail, field="model", got=f"SHA-256 {job.model_sha256}"
    ).as_dict()


def _samples_gone(job: Job) -> dict[str, str]:
    detail = "the store no longer has the samples of this job; post them again"
    return Refusal(
        Code.SAMPLES_GONE, detail, field="samples", got=f"SHA-256 {job.samples_sha256}"
    ).as_dict()


def _full(attempts: int) -> dict[str, str]:
    detail = f"the service's disk had no room for this job in {attempts} attempts"
    return Refusal(Code.STORAGE_FULL, detail).as_dict()
