"""Compression and inspection without the service: the same engine, sandboxed in the same way.

`python -m worker.offline` does it for `convpress.compress` and `convpress.inspect`: one JSON
request on standard input, one JSON answer on standard output. They run it as a process of its own,
because the caller's project may have packages that are called `app` or `worker` too.
"""

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, TypedDict

from app.settings import get_settings
from convpress.calibration import Calibration, choose_calibration, parse_calibration
from convpress.formats import Format
from convpress.gate.identify import identify
from convpress.limits import Limits
from convpress.refusal import Refusal
from convpress.report import Inspection, Report
from worker.engine.request import Request
from worker.jobs import cost_tables
from worker.sandbox import doctor, outputs
from worker.sandbox import run as sandbox
from worker.sandbox.account import Account
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


class OfflineOptions(TypedDict):
    """The options of an offline compression, in the terms of a `Request`."""

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
    options: OfflineOptions,
    costs: Path | None = None,
    device: str | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Report:
    """Compress `model` into `output`, which appears whole or not at all, and return the account.

    `costs` is a cost table in this host's own one's place, `device` what to compute on in that of
    the settings' own.

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
            **options,
        )
        _run([], request, folder, on_progress or _ignore)
        content, account = _take(Report, Path(request.report))
        with outputs.open_plain(Path(request.output), _LARGEST_ARTIFACT) as artifact:
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
        _run(["inspect"], request, folder, _ignore)
        content, inspection = _take(Inspection, Path(request.report))
        return content.decode(), inspection


def _ignore(_progress: Progress) -> None:
    """Show nothing."""


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
        is_wanted=lambda: True,
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
        return outputs.take(kind, path)
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


def main() -> None:
    """Answer one JSON request from standard input on standard output.

    The request is `{"command": "compress" or "inspect", ...}`; the answer has one member: `account`
    (a report or an inspection), `refusal` (the members of a `Refusal`) or `lost` (a sentence).
    """
    request = json.load(sys.stdin)
    try:
        answer: dict[str, object] = {"account": _answer(request)}
    except RefusedError as error:
        answer = {"refusal": error.members}
    except (LostError, doctor.SandboxIncomplete, doctor.DeviceMissing) as error:
        answer = {"lost": str(error)}
    json.dump(answer, sys.stdout)


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    model = Path(request["model"])
    if request["command"] == "inspect":
        content, _ = inspect(model, request["input_shape"])
        account: dict[str, Any] = json.loads(content)
        return account
    samples = request["samples"]
    options = OfflineOptions(
        budgets=request["budgets"],
        flops_at_any_price=request["flops_at_any_price"],
        input_shape=request["input_shape"],
        form=request["form"],
        rank=request["rank"],
        calibration=read_calibration(request["calibration"], Path(samples) if samples else None),
        samples=samples,
        input_range=request["input_range"],
        input_mean=request["input_mean"],
        input_std=request["input_std"],
    )
    costs = request["cost_table"]
    report = compress(
        model,
        Path(request["output"]),
        None,
        options,
        costs=Path(costs) if costs else None,
        device=request["device"],
    )
    return report.model_dump()


if __name__ == "__main__":
    main()
