"""Compression and inspection without the service: the same engine in the same kind of child process."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, TypedDict

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from app.settings import get_settings
from convpress.calibration import Calibration, choose_calibration, parse_calibration
from convpress.formats import Format
from convpress.gate.identify import identify
from convpress.limits import Limits
from convpress.refusal import Refusal
from convpress.report import Inspection, Report
from worker.engine.request import Request
from worker.jobs import cost_tables, results
from worker.jobs.report import Account
from worker.sandbox import doctor
from worker.sandbox import run as sandbox
from worker.sandbox.messages import Failed, MalformedOutput, Progress, Succeeded
from worker.sandbox.run import ENGINE, Lost
from worker.sandbox.scratch import scratch

_SECONDS = 24 * 3600.0
_LARGEST_ARTIFACT = 64 * 1024**3


class RefusedError(Exception):
    """The model, the budget or the shape cannot be served; `members` are those of a `Refusal`."""

    def __init__(self, members: dict[str, str]) -> None:
        super().__init__(members["detail"])
        self.members = members


class LostError(Exception):
    """The engine died, or said what no engine would."""


class Asked(TypedDict):
    """What the user asks for, in the terms of a `Request`."""

    budgets: dict[str, str]
    flops_at_any_price: bool
    input_shape: str | None
    form: str | None
    rank: int | None
    calibration: Calibration
    samples: str | None
    input_range: str | None
    input_mean: str | None
    input_std: str | None


def read_calibration(text: str | None, samples: Path | None) -> Calibration:
    """Read which calibration the user asks for.

    Raises:
        RefusedError: there is none such, or it does not go with the samples.
    """
    try:
        return choose_calibration(parse_calibration(text), samples=samples is not None)
    except Refusal as refusal:
        raise RefusedError(refusal.as_dict()) from refusal


def compress(
    model: Path,
    output: Path,
    report: Path | None,
    asked: Asked,
    costs: Path | None = None,
    device: str | None = None,
) -> Report:
    """Compress `model` into `output`, which appears whole or not at all, and return the account.

    `costs` is a cost table in this host's own one's place, `device` what to compute on in that of the settings' own.

    Raises:
        RefusedError: what is wrong with the input.
        LostError: the engine did not come to an end.
    """
    model_format = _identify(model)
    with scratch(Path(tempfile.gettempdir())) as folder:
        request = Request(
            model=str(model.absolute()),
            format=model_format,
            output=str(folder / "output" / f"model{model.suffix}"),
            report=str(folder / "output" / "report.json"),
            device=device or get_settings().device,
            costs=_absolute(costs or cost_tables.known(get_settings(), model_format)),
            **asked,
        )
        console = Console(stderr=True)
        with Bar(
            TextColumn("{task.description:12}"), BarColumn(), TimeElapsedColumn(), console=console
        ) as bar:
            task = bar.add_task("starting", total=1.0)
            _run(
                [],
                request,
                folder,
                lambda said: bar.update(task, description=said.phase, completed=said.fraction),
            )
            bar.update(task, description="done", completed=1.0)
        content, account = _take(Report, Path(request.report))
        with results.open_plain(Path(request.output), _LARGEST_ARTIFACT) as artifact:
            _write(output, lambda part: _copy_checked(artifact, part, model_format))
        if report is not None:
            _write(report, lambda part: part.write(content))
        return account


def inspect(model: Path, input_shape: str | None) -> tuple[str, Inspection]:
    """Return what a model is: the JSON that the engine wrote, and what it says.

    Raises:
        RefusedError: what is wrong with the input.
        LostError: the engine did not come to an end.
    """
    model_format = _identify(model)
    with scratch(Path(tempfile.gettempdir())) as folder:
        request = Request(
            model=str(model.absolute()),
            format=model_format,
            output="",
            report=str(folder / "output" / "inspection.json"),
            input_shape=input_shape,
        )
        _run(["inspect"], request, folder, lambda _: None)
        content, found = _take(Inspection, Path(request.report))
        return content.decode(), found


def _identify(model: Path) -> Format:
    try:
        return identify(model)
    except Refusal as refusal:
        raise RefusedError(refusal.as_dict()) from refusal


def _run(
    command: list[str], request: Request, folder: Path, on_progress: Callable[[Progress], None]
) -> None:
    settings = get_settings().model_copy(update={"device": request.device})
    doctor.require(settings)
    confinement = doctor.confined(
        folder / "work",
        readable=tuple(
            Path(path) for path in (request.model, request.samples, request.costs) if path
        ),
        writable=(folder / "output",),
        memory_bytes=settings.job_memory_bytes,
        file_bytes=_LARGEST_ARTIFACT,
        device=request.device,
    )
    outcome = sandbox.run(
        ENGINE,
        [*command, request.to_json()],
        confinement,
        seconds=_SECONDS,
        on_progress=on_progress,
        wanted=lambda: True,
    )
    match outcome:
        case Succeeded():
            return
        case Failed():
            raise RefusedError(outcome.error)
        case Lost():
            raise LostError(
                f"the engine did not come to an end: {outcome.reason}\n{outcome.log}".rstrip()
            )
        case _:
            raise LostError(f"the engine was not done after {_SECONDS:g} seconds")


def _absolute(path: Path | None) -> str | None:
    return None if path is None else str(path.absolute())


def _take(kind: type[Account], path: Path) -> tuple[bytes, Account]:
    try:
        return results.take(kind, path)
    except MalformedOutput as error:
        raise LostError(str(error)) from error


def _copy_checked(artifact: BinaryIO, part: BinaryIO, model_format: Format) -> None:
    shutil.copyfileobj(artifact, part)
    part.flush()
    try:
        results.check_artifact(Path(part.name), model_format, Limits())
    except MalformedOutput as error:
        raise LostError(str(error)) from error


def _write(target: Path, fill: Callable[..., object]) -> None:
    """Fill a file beside the target and rename it, so that no half a file ever has the target's name."""
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
