"""One attempt at a job: fetch its input files, run the engine in a child, store the results."""

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog

from app import data_folder
from app.data_folder import DataFolderGone
from app.db.models import Job
from app.settings import Settings
from app.storage import StorageUnavailable, get_storage
from app.storage.local import free_bytes
from convpress.formats import Format, named
from convpress.options import ADVICE
from convpress.refusal import Code
from worker.engine.request import Request
from worker.jobs import analysis_cache, inspections, results
from worker.jobs.inputs import InputGone, Inputs, fetch_inputs
from worker.jobs.outcomes import DiskFull, JobOutcome, StoreUnavailable
from worker.queue.lease import AdviceResult, Result
from worker.sandbox import doctor
from worker.sandbox import run as sandbox
from worker.sandbox.messages import Failed, MalformedOutput, Progress, Succeeded
from worker.sandbox.policy import Confinement
from worker.sandbox.run import Lost, Outcome
from worker.sandbox.scratch import scratch, scratch_root
from worker.sandbox.spare import Spare, spares

# A child that died on a disk with less room than this died because of that: torch ends the process
# where a file cannot be written.
_LEAST_FREE_BYTES = 1024**2

OnProgress = Callable[[Progress], None]
OnLog = Callable[[str], object]

log = structlog.get_logger(__name__)


def run_job(
    job: Job,
    settings: Settings,
    on_progress: OnProgress,
    is_wanted: Callable[[], bool],
    on_log: OnLog = lambda _: None,
) -> JobOutcome:
    """Make one attempt at a job and return its outcome.

    The child is killed as soon as `is_wanted` says no. `on_log` receives the end of the child's
    standard error.
    """
    try:
        data_folder.check(settings)
        with _child_of(settings) as child:
            return _run(job, child, settings, on_progress, is_wanted, on_log)
    except InputGone as gone:
        # Without its folder, the store has no file at all.
        if _is_data_folder_gone(settings):
            return StoreUnavailable()
        return Failed(gone.error)
    except (DataFolderGone, StorageUnavailable) as error:
        log.error("the artifact store does not answer", error=str(error))
        return StoreUnavailable()
    except OSError as error:
        if isinstance(error, FileNotFoundError) and _is_data_folder_gone(settings):
            log.error("the data folder is gone", error=str(error))
            return StoreUnavailable()
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        log.error("the disk is full", error=str(error))
        return DiskFull()


def _is_data_folder_gone(settings: Settings) -> bool:
    try:
        data_folder.check(settings)
    except DataFolderGone:
        return True
    return False


def _run(
    job: Job,
    child: "Spare | _NewChild",
    settings: Settings,
    on_progress: OnProgress,
    is_wanted: Callable[[], bool],
    on_log: OnLog,
) -> Outcome | Result | AdviceResult:
    folder = child.folder
    model_format = named(job.model.format)
    inputs = fetch_inputs(
        job,
        model_format,
        folder / "input",
        settings,
        read_only=child.confinement.landlock > 0,
    )
    request = _request(job, model_format, inputs, folder / "output", settings)
    outcome = child.run(
        [*_command(job), request.to_json()],
        seconds=settings.job_timeout_seconds,
        on_progress=on_progress,
        is_wanted=is_wanted,
        on_log=on_log,
    )
    if _ran_out_of_disk(outcome, folder):
        raise OSError(errno.ENOSPC, "the child could not write its files")
    stored = _store(job, request, outcome, settings)
    # Any other outcome cut the child off, perhaps in the middle of a file.
    if isinstance(stored, Result | AdviceResult | Failed):
        _cache(job, request, inputs, settings)
    return stored


@dataclass(frozen=True)
class _NewChild:
    """A child that starts with its job, for a worker without a spare."""

    folder: Path
    confinement: Confinement

    def run(
        self,
        arguments: list[str],
        *,
        seconds: float,
        on_progress: OnProgress,
        is_wanted: Callable[[], bool],
        on_log: OnLog,
    ) -> Outcome:
        return sandbox.run(
            sandbox.ENGINE,
            arguments,
            self.confinement,
            seconds=seconds,
            on_progress=on_progress,
            is_wanted=is_wanted,
            on_log=on_log,
        )


@contextmanager
def _child_of(settings: Settings) -> Iterator[Spare | _NewChild]:
    """Give the spare child, or else a new one, with a scratch folder of its own."""
    spare = spares.take()
    if spare is not None:
        with spare:
            yield spare
        return
    with scratch(scratch_root(settings.data_dir)) as folder:
        yield _NewChild(folder, _confine(folder, settings))


def start_spare(settings: Settings) -> Spare:
    """Start a child that waits for a job."""
    return Spare(
        scratch_root(settings.data_dir),
        lambda folder: _confine(folder, settings),
        settings.job_timeout_seconds,
    )


def _confine(folder: Path, settings: Settings) -> Confinement:
    return doctor.confined(
        folder / "work",
        readable=(folder / "input", *_mounted(settings)),
        writable=(folder / "output",),
        memory_bytes=settings.job_memory_bytes,
        file_bytes=settings.max_upload_bytes,
        device=settings.device,
        threads=settings.threads_of_job,
    )


def _mounted(settings: Settings) -> tuple[Path, ...]:
    """Return the operator's folder of photographs, if there is one."""
    folder = settings.photographs_dir
    return () if folder is None else (folder.absolute(),)


def _request(
    job: Job, model_format: Format, inputs: Inputs, output: Path, settings: Settings
) -> Request:
    keeps_analysis = settings.analysis_bytes > 0
    return Request(
        model=str(inputs.model),
        format=model_format,
        output=str(output / inputs.model.name),
        report=str(output / "report.json"),
        device=settings.device,
        job_threads=settings.threads_of_job,
        photographs=_text(next(iter(_mounted(settings)), None)),
        limits=settings.limits,
        costs=None if inputs.costs is None else str(inputs.costs.path),
        costs_origin="" if inputs.costs is None else inputs.costs.origin,
        costs_decide=inputs.costs is None or inputs.costs.decides,
        samples=_text(inputs.samples),
        evaluation=_text(inputs.evaluation),
        analysis=_text(inputs.analysis),
        kept_analysis=str(output / "analysis") if keeps_analysis else None,
        largest_analysis=settings.analysis_bytes,
        inspection=str(output / "inspection.json"),
        **job.options.as_request(),
    )


def _command(job: Job) -> list[str]:
    """Return the engine's command; a compression needs none."""
    return ["advise"] if job.kind == ADVICE else []


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _ran_out_of_disk(outcome: Outcome, folder: Path) -> bool:
    """Tell whether the child reported a full disk, or died on one."""
    if isinstance(outcome, Failed):
        return outcome.error["code"] == Code.STORAGE_FULL
    return isinstance(outcome, Lost) and free_bytes(folder) < _LEAST_FREE_BYTES


def _store(
    job: Job,
    request: Request,
    outcome: Outcome,
    settings: Settings,
) -> Outcome | Result | AdviceResult:
    """Put the artifact and the report of a child that succeeded into the store; or the advice.

    Other outcomes stay as they are.
    """
    if not isinstance(outcome, Succeeded):
        return outcome
    try:
        if job.kind == ADVICE:
            return results.store_advice(
                job.id,
                Path(request.report),
                limits=settings.limits,
                storage=get_storage(),
            )
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


def _cache(job: Job, request: Request, inputs: Inputs, settings: Settings) -> None:
    """Keep the inspection and the analysis of the model for later jobs."""
    if request.inspection is not None:
        inspections.keep(job, Path(request.inspection), settings.limits)
    if request.kept_analysis is not None:
        analysis_cache.keep(
            get_storage(),
            job,
            inputs.analysis_key,
            Path(request.kept_analysis),
            settings.analysis_bytes,
        )
