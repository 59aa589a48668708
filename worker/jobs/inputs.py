"""The input files of a job: fetched from the store for its child process."""

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from app.db.models import Job
from app.settings import Settings
from app.storage import evaluation_key, get_storage, model_key, samples_key
from convpress.formats import FORMATS, Format
from convpress.refusal import Code, Refusal
from worker.jobs import analysis_cache, cost_tables
from worker.jobs.cost_tables import Table

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Inputs:
    """The files of one job before its child starts.

    Each file but the model is None where the job has none.

    `analysis` is the analysis that an earlier job left in the store under `analysis_key`.
    """

    model: Path
    samples: Path | None
    evaluation: Path | None
    costs: Table | None
    analysis: Path | None
    analysis_key: str


class InputGone(Exception):
    """The store no longer has an upload of the job; `error` has the members of a `Refusal`."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.detail)
        self.error: dict[str, str] = refusal.as_dict()


def fetch_inputs(
    job: Job, model_format: Format, folder: Path, settings: Settings, *, read_only: bool
) -> Inputs:
    """Put the input files of a job into `folder`.

    `read_only` says that the child cannot write there.

    Raises:
        InputGone: the store has lost an upload, or has other bytes in its place.
        StorageUnavailable: the store did not answer.
        OSError: the disk is full.
    """
    model = folder / f"model{FORMATS[model_format].suffix}"
    if not _fetch_upload(model_key, job.model_sha256, model, read_only=read_only):
        raise InputGone(_model_gone(job.model_sha256))
    samples = None
    if job.samples_sha256 is not None:
        samples = folder / "samples"
        if not _fetch_upload(
            samples_key, job.samples_sha256, samples, read_only=read_only
        ):
            raise InputGone(_samples_gone(job.samples_sha256))
    evaluation = None
    if job.evaluation_sha256 is not None:
        evaluation = folder / "evaluation"
        if not _fetch_upload(
            evaluation_key, job.evaluation_sha256, evaluation, read_only=read_only
        ):
            raise InputGone(_evaluation_gone(job.evaluation_sha256))
    costs = _copy_costs(job, model_format, folder, settings)
    analysis = folder / "analysis"
    digest = cost_tables.digest(costs)
    analysis_key = analysis_cache.key_of(job, digest, settings.photographs_dir)
    is_known = _fetch(analysis_key, analysis, read_only=read_only)
    known = analysis if is_known else None
    return Inputs(model, samples, evaluation, costs, known, analysis_key)


def _copy_costs(
    job: Job, model_format: Format, folder: Path, settings: Settings
) -> Table | None:
    """Copy the cost table of a job, so that the analysis key and the child use the same one."""
    table = cost_tables.table_of(settings, model_format, job.target)
    if table is None:
        return None
    copy = folder / "costs.json"
    shutil.copyfile(table.path, copy)
    return replace(table, path=copy)


def _fetch_upload(
    key_of: Callable[[str], str], sha256: str, target: Path, *, read_only: bool
) -> bool:
    """Fetch an upload, and return whether the store has it as it was sent.

    The disk may have changed it: an artifact would be that of another model, and nobody would know.
    """
    key = key_of(sha256)
    if not _fetch(key, target, read_only=read_only):
        return False
    with target.open("rb") as file:
        is_whole = hashlib.file_digest(file, "sha256").hexdigest() == sha256
    if not is_whole:
        log.error("a stored file is damaged", key=key, sha256=sha256)
    return is_whole


def _fetch(key: str, target: Path, *, read_only: bool) -> bool:
    """Fetch a file from the store, and return whether the store has it."""
    try:
        get_storage().fetch(key, target)
    except FileNotFoundError:
        return False
    if not read_only:
        # The store may have made a hard link: a child that could write to it would change the
        # file in the store.
        copy = target.with_suffix(".copy")
        shutil.copyfile(target, copy)
        copy.replace(target)
    return True


def _model_gone(sha256: str) -> Refusal:
    detail = "the store no longer has the model of this job as sent; upload it again"
    return Refusal(Code.MODEL_GONE, detail, field="model", got=f"SHA-256 {sha256}")


def _samples_gone(sha256: str) -> Refusal:
    detail = "the store no longer has the samples of this job as sent; post them again"
    return Refusal(Code.SAMPLES_GONE, detail, field="samples", got=f"SHA-256 {sha256}")


def _evaluation_gone(sha256: str) -> Refusal:
    detail = "the store no longer has the evaluation of this job as sent; post it again"
    return Refusal(
        Code.EVALUATION_GONE, detail, field="evaluation", got=f"SHA-256 {sha256}"
    )
