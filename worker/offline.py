"""Compression and inspection without the service: the same engine, sandboxed in the same way."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from app.settings import get_settings
from convpress.bundling import bundled
from convpress.formats import Format
from convpress.gate.identify import identify
from convpress.limits import Limits
from convpress.options import JobOptions
from convpress.refusal import Code, Refusal
from convpress.report import Inspection, Report
from convpress.report.advice import Advice
from worker.engine.request import Request
from worker.jobs import cost_tables
from worker.sandbox import doctor, outputs
from worker.sandbox import run as sandbox
from worker.sandbox.account_parser import Account
from worker.sandbox.messages import Failed, MalformedOutput, Progress, Succeeded
from worker.sandbox.run import ENGINE, Lost
from worker.sandbox.scratch import scratch
from worker.scored_compression import Attempt, scored
from worker.scoring import FIELD, Scorer, parse_scorer

_SECONDS = 24 * 3600.0
_LARGEST_ARTIFACT = 64 * 1024**3


class RefusedError(Exception):
    """The model, the budget or the shape cannot be served; `members` are those of a `Refusal`."""

    def __init__(self, members: dict[str, str]) -> None:
        super().__init__(members["detail"])
        self.members = members


class LostError(Exception):
    """The engine died, or said what no engine would."""


@dataclass(frozen=True)
class OfflineJob:
    """One compression: the options of a job, and what only this machine can be asked for.

    `rank` is one rank for every layer, in place of budgets, and `form` the only form to use.
    `cost_table` replaces this host's own, and `device` the one of the settings. `evaluation` is a
    file of labels or targets, and `scorer` a command in its place.
    """

    options: JobOptions
    samples: Path | None = None
    evaluation: Path | None = None
    scorer: Scorer | None = None
    form: str | None = None
    rank: int | None = None
    cost_table: Path | None = None
    device: str | None = None


def read_options(
    fields: Mapping[str, str | None],
    samples: Path | None,
    *,
    needs_budget: bool,
    evaluation: Path | None = None,
    scorer: Scorer | None = None,
) -> JobOptions:
    """Read the options of a job from the texts of its fields.

    Without `needs_budget` something else takes the place of budgets.

    Raises:
        RefusedError: a field is invalid, or the fields contradict each other.
    """
    with _refusing():
        if evaluation is not None and scorer is not None:
            raise Refusal(
                Code.EVALUATION_INVALID,
                "a model is measured by a file or by a command, not by both",
                field=FIELD,
                expected="an evaluation file, or a command",
                got="both",
            )
        # The engine reads the files from their paths: nobody needs their SHA-256.
        return JobOptions.parse(
            fields,
            samples_sha256=None if samples is None else "",
            evaluation_sha256=None if evaluation is None else "",
            needs_budget=needs_budget,
            has_score=scorer is not None,
        )


def read_scorer(
    command: str | None, *, lower_is_better: bool, seconds: float | None
) -> Scorer | None:
    """Read the command that measures a model; None without one.

    Raises:
        RefusedError: it cannot be one.
    """
    if command is None:
        return None
    with _refusing():
        return parse_scorer(command, lower_is_better=lower_is_better, seconds=seconds)


@contextmanager
def _refusing() -> Iterator[None]:
    """Raise a refusal within the block as a `RefusedError`."""
    try:
        yield
    except Refusal as refusal:
        raise RefusedError(refusal.as_dict()) from refusal


def compress(
    model: Path,
    output: Path,
    report: Path | None,
    job: OfflineJob,
    on_progress: Callable[[Progress], None] | None = None,
) -> Report:
    """Compress `model` into `output`, which appears whole or not at all, and return the report.

    An ONNX model whose weights lie in files beside it becomes one file.

    Raises:
        RefusedError: the model or an option cannot be served.
        LostError: the engine did not finish.
    """
    with bundled(model) as source, scratch(Path(tempfile.gettempdir())) as folder:
        request = _request(source, model.suffix, folder, "report.json", job)

        def make(request: Request, target: Path) -> Attempt:
            _run([], request, folder, on_progress or _ignore)
            content, account = _take(Report, Path(request.report))
            with outputs.open_plain(
                Path(request.output), _LARGEST_ARTIFACT
            ) as artifact:
                _write(
                    target, lambda part: _copy_checked(artifact, part, request.format)
                )
            return Attempt(target, content, account)

        with _refusing():
            if job.scorer is None:
                attempt = make(request, output)
            else:
                attempt = scored(make, request, model, job.scorer, folder / "input")
                with attempt.artifact.open("rb") as artifact:
                    _write(output, lambda part: shutil.copyfileobj(artifact, part))
        if report is not None:
            _write(report, lambda part: part.write(attempt.content))
        return attempt.report


def advise(
    model: Path,
    options: JobOptions,
    samples: Path | None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Advice:
    """Return the advice on a model, measured on this machine; nothing is kept.

    Raises:
        RefusedError: the model or an option cannot be served.
        LostError: the engine did not finish.
    """
    with bundled(model) as source, scratch(Path(tempfile.gettempdir())) as folder:
        job = OfflineJob(options, samples)
        request = _request(source, model.suffix, folder, "advice.json", job)
        _run(["advise"], request, folder, on_progress or _ignore)
        _, advice = _take(Advice, Path(request.report))
        return advice


def inspect(model: Path, input_shape: str | None) -> tuple[str, Inspection]:
    """Return the inspection of a model: the JSON that the engine wrote, and the record in it.

    Raises:
        RefusedError: the model cannot be opened, or does not take this input shape.
        LostError: the engine did not finish.
    """
    with bundled(model) as source, scratch(Path(tempfile.gettempdir())) as folder:
        model_format = _identify(source)
        request = Request(
            model=str(source.absolute()),
            format=model_format,
            output="",
            report=str(folder / "output" / "inspection.json"),
            input_shape=input_shape,
        )
        with _refusing():
            _run(["inspect"], request, folder, _ignore)
        content, inspection = _take(Inspection, Path(request.report))
        return content.decode(), inspection


def _request(
    source: Path, suffix: str, folder: Path, account: str, job: OfflineJob
) -> Request:
    """Return the request of a job on the file `source`; the results go to files in `folder`."""
    settings = get_settings()
    model_format = _identify(source)
    return Request(
        model=str(source.absolute()),
        format=model_format,
        output=str(folder / "output" / f"model{suffix}"),
        report=str(folder / "output" / account),
        device=job.device or settings.device,
        job_threads=settings.threads_of_job,
        photographs=_absolute(settings.photographs_dir),
        **_costs(model_format, job.options.target, job.cost_table),
        samples=_absolute(job.samples),
        evaluation=_absolute(job.evaluation),
        form=job.form,
        rank=job.rank,
        **job.options.as_request(),
    )


def _costs(
    model_format: Format, target: str | None, own: Path | None = None
) -> dict[str, Any]:
    with _refusing():
        return cost_tables.request_members(get_settings(), model_format, target, own)


def _ignore(_progress: Progress) -> None:
    """Show nothing."""


def _identify(model: Path) -> Format:
    try:
        return identify(model)
    except Refusal as refusal:
        raise RefusedError(refusal.as_dict()) from refusal


def _run(
    command: list[str],
    request: Request,
    folder: Path,
    on_progress: Callable[[Progress], None],
) -> None:
    """Run the engine on a request.

    Raises:
        Refusal: the engine refused it.
        LostError: the engine did not finish.
    """
    settings = get_settings().model_copy(update={"device": request.device})
    doctor.require(settings)
    confinement = doctor.confined(
        folder / "work",
        readable=tuple(Path(path) for path in _read_by(request) if path),
        writable=(folder / "output",),
        memory_bytes=settings.job_memory_bytes,
        file_bytes=_LARGEST_ARTIFACT,
        device=request.device,
        threads=request.job_threads,
    )
    outcome = sandbox.run(
        ENGINE,
        [*command, request.to_json()],
        confinement,
        seconds=_SECONDS,
        on_progress=on_progress,
        is_wanted=lambda: True,
    )
    match outcome:
        case Succeeded():
            return
        case Failed():
            members = dict(outcome.error)
            raise Refusal(Code(members.pop("code")), members.pop("detail"), **members)
        case Lost():
            raise LostError(
                f"the engine did not come to an end: {outcome.reason}\n{outcome.log}".rstrip()
            )
        case _:
            raise LostError(f"the engine was not done after {_SECONDS:g} seconds")


def _read_by(request: Request) -> tuple[str | None, ...]:
    """Return the paths that the child reads."""
    return (
        request.model,
        request.samples,
        request.evaluation,
        request.costs,
        request.photographs,
    )


def _absolute(path: Path | None) -> str | None:
    return None if path is None else str(path.absolute())


def _take(kind: type[Account], path: Path) -> tuple[bytes, Account]:
    try:
        return outputs.take(kind, path, Limits())
    except MalformedOutput as error:
        raise LostError(str(error)) from error


def _copy_checked(artifact: BinaryIO, part: BinaryIO, model_format: Format) -> None:
    shutil.copyfileobj(artifact, part)
    part.flush()
    try:
        outputs.check_artifact(Path(part.name), model_format, Limits())
    except MalformedOutput as error:
        raise LostError(str(error)) from error


def _write(target: Path, fill: Callable[..., object]) -> None:
    """Fill a temporary file and rename it to the target, which is so never half written."""
    with tempfile.NamedTemporaryFile(
        dir=target.absolute().parent, prefix=f".{target.name}.", delete=False
    ) as part:
        try:
            fill(part)
            part.flush()
            os.fchmod(part.fileno(), 0o644)
            Path(part.name).replace(target)
        except BaseException:
            Path(part.name).unlink(missing_ok=True)
            raise
