"""The command line: `convpress serve`, `worker`, `submit`, `compress`, `inspect`, `calibrate-host` and `demo`.

Exit codes: 0 done, 1 refused (standard error names the field, what was expected and what came), 2 wrong usage, 3 the
engine died or ran out of time, 4 the service is not to be reached, busy or broken, 5 the job was cancelled.
"""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn, cast

import typer

from convpress import budgets as budget
from convpress.formats import NOUNS
from convpress.refusal import Code

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from app.settings import Settings
    from convpress.client.client import ClientError, Options
    from convpress.schemas import Problem
    from worker.cli.compress import RefusedError

app = typer.Typer(
    help="Make trained convolutional networks cheaper, without any data.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

keys_app = typer.Typer(help="Make, list and revoke API keys.", no_args_is_help=True)
app.add_typer(keys_app, name="keys")

_REFUSED, _USAGE, _LOST, _UNAVAILABLE, _CANCELLED = 1, 2, 3, 4, 5

ModelFile = Annotated[Path, typer.Argument(help=f"Path of {NOUNS}", exists=True, dir_okay=False)]
_FORMS = "dac, grouped, spatial, tucker2, pointwise-first or low-rank"

FlopsBudget = Annotated[
    str | None, typer.Option(help="What to keep: 0.5, 50%, 7.2G (FLOPs), 3.6GMACs")
]
ParamsBudget = Annotated[
    str | None, typer.Option(help="As well, or instead: 0.6, 60% of the parameters, or 5.4M")
]
BytesBudget = Annotated[
    str | None, typer.Option(help="As well, or instead: 0.6, 60% of the file's size, or 20MB")
]
LatencyBudget = Annotated[
    str | None, typer.Option(help="As well, or instead: 0.6, 60% of the time, or 12ms")
]
AtAnyPrice = Annotated[
    bool, typer.Option("--flops-at-any-price", help="Let layers become slower than they are")
]
InputShape = Annotated[
    str | None, typer.Option(help="Such as 1x3x224x224, where the model does not carry it")
]
Output = Annotated[Path | None, typer.Option(help="Default: MODEL.convpress, with MODEL's suffix")]
ReportFile = Annotated[Path | None, typer.Option(help="Write the account here, as JSON")]
Calibration = Annotated[
    str | None, typer.Option(help="Inputs to measure on: synthetic, samples or none")
]
Samples = Annotated[
    Path | None,
    typer.Option(help="Real inputs: .npz by name, or .npy", exists=True, dir_okay=False),
]
InputRange = Annotated[str | None, typer.Option(help="What values images have, such as 0,255")]
InputMean = Annotated[
    str | None, typer.Option(help="In the range's place, such as 0.485,0.456,0.406")
]
InputStd = Annotated[str | None, typer.Option(help="With the mean, such as 0.229,0.224,0.225")]


@app.command()
def serve() -> None:
    """Run the whole service here: database, API and a worker; Ctrl-C stops everything."""
    from worker.cli.supervisor import CannotListen
    from worker.cli.supervisor import serve as serve_until_stopped
    from worker.sandbox.doctor import DeviceMissing, WallsMissing

    try:
        serve_until_stopped(_settings())
    except (CannotListen, DeviceMissing, WallsMissing) as error:
        _exit(str(error), _REFUSED)


@app.command()
def worker() -> None:
    """Work on jobs until told to stop."""
    from worker.sandbox.doctor import DeviceMissing, WallsMissing, require, require_device

    try:
        require(_settings())
        require_device(_settings().device)
    except (DeviceMissing, WallsMissing) as error:
        _exit(str(error), _REFUSED)
    from app.tracing import TracingMissing
    from worker.celery_app import run_worker

    try:
        raise typer.Exit(run_worker())
    except TracingMissing as error:
        _exit(str(error), _USAGE)


@keys_app.command("create")
def create_key(
    owner: Annotated[str, typer.Argument(help="Whose jobs the key posts and sees")],
    scope: Annotated[
        list[str] | None,
        typer.Option(help="submit, read, metrics or admin; default: submit and read"),
    ] = None,
) -> None:
    """Make a key and print it; it is not kept and cannot be shown again."""
    from app.auth import keys

    with _database() as session:
        try:
            _, token = keys.create(session, owner, scope or ["submit", "read"])
        except ValueError as error:
            _exit(str(error), _USAGE)
    typer.echo(token)


@keys_app.command("list")
def list_keys() -> None:
    """List all keys, without their secrets."""
    from app.auth import keys
    from worker.cli import render

    with _database() as session:
        render.console().print(render.keys(keys.listed(session)))


@keys_app.command("revoke")
def revoke_key(
    number: Annotated[str, typer.Argument(metavar="ID", help="The key's id, as `list` shows it")],
) -> None:
    """Make a key invalid from now on."""
    from app.auth import keys

    with _database() as session:
        revoked = keys.revoke(session, number)
    if not revoked:
        _exit(f"there is no valid key {number}", _REFUSED)


@app.command()
def doctor() -> None:
    """Say which walls stand around a model on this host, and whether the device is there; exit code 1 if one is not."""
    from worker.cli import render
    from worker.sandbox import doctor as walls

    device = _settings().device
    found = walls.examine(device)
    render.console().print(render.walls(found))
    try:
        walls.require_device(device)
    except walls.DeviceMissing as error:
        _exit(str(error), _REFUSED)
    if not all(wall.stands for wall in found):
        raise typer.Exit(_REFUSED)


@app.command()
def calibrate_host() -> None:
    """Measure what layers take on this host, for budgets of time; some minutes, best while nothing else runs."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from worker.jobs import cost_tables
    from worker.sandbox.doctor import WallsMissing

    settings = _settings()
    columns = TextColumn("{task.description:12}"), BarColumn(), TimeElapsedColumn()
    try:
        with Progress(*columns, console=Console(stderr=True)) as bars:
            task = bars.add_task("starting", total=1.0)
            tables = cost_tables.calibrate(
                settings,
                lambda what, said: bars.update(task, description=what, completed=said.fraction),
            )
    except (WallsMissing, cost_tables.NotMeasuredError) as error:
        _exit(str(error), _LOST)
    for table in tables:
        where = cost_tables.path_of(settings, table.format)
        typer.echo(f"{table.runtime} on {table.host}: {where}")


@app.command()
def compress(
    model: ModelFile,
    flops_budget: FlopsBudget = None,
    params_budget: ParamsBudget = None,
    bytes_budget: BytesBudget = None,
    latency_budget: LatencyBudget = None,
    input_shape: InputShape = None,
    output: Output = None,
    report: ReportFile = None,
    flops_at_any_price: AtAnyPrice = False,
    cost_table: Annotated[
        Path | None,
        typer.Option(
            help="Measured on the device that the model is to run on", exists=True, dir_okay=False
        ),
    ] = None,
    form: Annotated[str | None, typer.Option(help=f"Admit this form alone: {_FORMS}")] = None,
    rank: Annotated[
        int | None, typer.Option(help="One rank everywhere, in the budget's place")
    ] = None,
    calibration: Calibration = None,
    samples: Samples = None,
    input_range: InputRange = None,
    input_mean: InputMean = None,
    input_std: InputStd = None,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda or cuda:N; default: CONVPRESS_DEVICE")
    ] = None,
) -> None:
    """Compress a model offline, as the service does it."""
    from worker.cli import compress as offline
    from worker.cli import render

    budgets = _budgets(flops_budget, params_budget, bytes_budget, latency_budget)
    if bool(budgets) == (rank is not None):
        raise typer.BadParameter("give --flops-budget or other budgets, or --rank")
    target = _check_targets(output, report, model)
    try:
        asked = offline.Asked(
            budgets=budgets,
            flops_at_any_price=flops_at_any_price,
            input_shape=input_shape,
            form=form,
            rank=rank,
            calibration=offline.read_calibration(calibration, samples),
            samples=None if samples is None else str(samples.absolute()),
            input_range=input_range,
            input_mean=input_mean,
            input_std=input_std,
        )
        account = offline.compress(model, target, report, asked, cost_table, device)
    except offline.RefusedError as error:
        _refuse(error)
    except offline.LostError as error:
        _exit(str(error), _LOST)
    console = render.console()
    console.print(render.account(account))
    if account.budget.note:
        console.print(account.budget.note, markup=False)
    console.print(f"written to {target}", soft_wrap=True, markup=False)


@app.command()
def submit(
    model: ModelFile,
    flops_budget: FlopsBudget = None,
    params_budget: ParamsBudget = None,
    bytes_budget: BytesBudget = None,
    latency_budget: LatencyBudget = None,
    flops_at_any_price: AtAnyPrice = False,
    server: Annotated[str, typer.Option(envvar="CONVPRESS_SERVER")] = "http://127.0.0.1:8000",
    key: Annotated[
        str | None,
        typer.Option(
            envvar="CONVPRESS_KEY", help="API key; better in the variable, where no others see it"
        ),
    ] = None,
    input_shape: InputShape = None,
    output: Output = None,
    report: ReportFile = None,
    calibration: Calibration = None,
    samples: Samples = None,
    input_range: InputRange = None,
    input_mean: InputMean = None,
    input_std: InputStd = None,
    label: Annotated[
        list[str] | None, typer.Option(help="name=value, to find the job by; as often as wanted")
    ] = None,
    idempotency_key: Annotated[
        str | None,
        typer.Option(help="Sent again with the same model and options, it gives the same job"),
    ] = None,
    patience: Annotated[
        float,
        typer.Option(
            help="For how many seconds a service that is away or busy is asked again", min=0
        ),
    ] = 60,
    json: Annotated[
        bool, typer.Option("--json", help="Print the job, or the problem, as JSON, and no bars")
    ] = False,
) -> None:
    """Compress a model by a running service; Ctrl-C leaves the job to it.

    Exit codes: 0 the artifact is written, 1 model or request were refused, 2 wrong usage, 3 the engine died or ran out
    of time, 4 the service is not to be reached, busy or broken, 5 the job was cancelled.
    """
    from convpress.client.client import Client, ClientError
    from worker.cli import render
    from worker.cli import submit as submission

    target = _check_targets(output, report, model)
    told: dict[str, object] = {
        "input_shape": input_shape,
        "calibration": calibration,
        "samples": samples,
        "input_range": input_range,
        "input_mean": input_mean,
        "input_std": input_std,
        "labels": _labels(label or []),
        "flops_at_any_price": flops_at_any_price,
        **_budgets(None, params_budget, bytes_budget, latency_budget),
    }
    if flops_budget is None and not told.keys() & budget.KINDS:
        raise typer.BadParameter("give --flops-budget or another budget")
    options = cast("Options", {name: value for name, value in told.items() if value})
    try:
        client = Client(server, key, patience=patience)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--server") from error
    asked = submission.Asked(model, flops_budget, target, idempotency_key)
    try:
        with client:
            job, account = submission.submit(client, asked, options, quiet=json)
    except ClientError as error:
        _fail(error, json=json)
    if report is not None:
        report.write_text(account.model_dump_json(indent=2))
    if json:
        typer.echo(job.model_dump_json(indent=2))
        return
    console = render.console()
    console.print(render.account(account))
    console.print(f"written to {target}", soft_wrap=True, markup=False)


@app.command()
def inspect(
    model: ModelFile,
    input_shape: InputShape = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON")] = False,
) -> None:
    """Tell a model's format, inputs, outputs, convolutions and multiply-accumulates."""
    from worker.cli import compress as offline
    from worker.cli import render

    try:
        content, found = offline.inspect(model, input_shape)
    except offline.RefusedError as error:
        _refuse(error)
    except offline.LostError as error:
        _exit(str(error), _LOST)
    if json:
        typer.echo(content)
        return
    console = render.console()
    console.print(render.overview(found))
    if found.sites or found.missing is None:
        console.print(render.inspection(found))
    if found.missing is not None:
        console.print(
            f"Not all of the cost is known: {found.missing}. It may depend on --input-shape.",
            markup=False,
        )


@app.command()
def demo(
    model: Annotated[
        Path, typer.Argument(help="The model to post", exists=True, dir_okay=False)
    ] = Path("tests/models/residual.onnx"),
) -> None:
    """Start the service, compress a sample model through it, show the result, and serve on until Ctrl-C."""
    from worker.cli import demo as demonstration
    from worker.cli.supervisor import CannotListen

    try:
        demonstration.run(model, _settings())
    except (CannotListen, demonstration.DemonstrationError) as error:
        _exit(str(error), _REFUSED)


def main() -> None:
    """Run the command line."""
    app()


def _check_targets(output: Path | None, report: Path | None, model: Path) -> Path:
    """Return where the artifact goes; it and the report are files that can be written, and three with the model."""
    target = output or model.with_name(f"{model.stem}.convpress{model.suffix}")
    _check_target(target, model, "--output")
    if report is not None:
        _check_target(report, model, "--report")
        if report.absolute() == target.absolute():
            raise typer.BadParameter("it is the output as well", param_hint="--report")
    return target


def _check_target(target: Path, model: Path, option: str) -> None:
    """Refuse a file that could not be written, or should not be, before the work rather than after it."""
    if target.is_dir() or not target.absolute().parent.is_dir():
        raise typer.BadParameter(f"{target} is a folder, or in none that exists", param_hint=option)
    if target.exists() and target.samefile(model):
        raise typer.BadParameter("it would overwrite the model", param_hint=option)


def _settings() -> "Settings":
    """Read the settings, or end with the names of the variables that are wrong."""
    from pydantic import ValidationError

    from app.settings import get_settings

    try:
        return get_settings()
    except ValidationError as error:
        wrong = [
            ": ".join([*(f"CONVPRESS_{name}".upper() for name in each["loc"]), each["msg"]])
            for each in error.errors()
        ]
        _exit("\n".join(wrong), _USAGE)


@contextmanager
def _database() -> Iterator["Session"]:
    """Open a transaction on the database, which is brought up to date first."""
    from app.db.migrations import migrate
    from app.db.session import transaction

    settings = _settings()
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    migrate(settings.sql_url)
    with transaction() as session:
        yield session


def _budgets(
    flops: str | None, params: str | None, size: str | None, latency: str | None
) -> dict[str, str]:
    """Return the budgets that were given, by field."""
    kinds = (budget.FLOPS, budget.PARAMETERS, budget.BYTES, budget.LATENCY)
    told = {
        kind.field: text for kind, text in zip(kinds, (flops, params, size, latency), strict=True)
    }
    return {field: text for field, text in told.items() if text is not None}


def _labels(pairs: list[str]) -> dict[str, str]:
    split = [pair.partition("=") for pair in pairs]
    if not all(equals for _, equals, _ in split):
        raise typer.BadParameter("a label is name=value", param_hint="--label")
    return {name: value for name, _, value in split}


def _fail(error: "ClientError", *, json: bool) -> NoReturn:
    """End as what went wrong with the service demands; as JSON goes what the service itself says."""
    from convpress.client.client import JobFailed, Refused

    said: str | None = None
    problem: Problem | None = None
    match error:
        case JobFailed(job=job):
            said, problem = job.model_dump_json(indent=2), job.error
            lost = problem is not None and (
                problem.status >= 500 or problem.code == Code.JOB_TIMEOUT
            )
            status = _CANCELLED if problem is None else _LOST if lost else _REFUSED
        case Refused(problem=problem):
            said = problem.model_dump_json(indent=2, exclude_none=True)
            status = _UNAVAILABLE if problem.status >= 500 or problem.status == 429 else _REFUSED
        case _:
            status = _UNAVAILABLE
    if json and said is not None:
        typer.echo(said)
    _exit(_in_lines(problem.model_dump(exclude_none=True)) if problem else str(error), status)


def _refuse(error: "RefusedError") -> NoReturn:
    _exit(_in_lines(error.members), _REFUSED)


def _in_lines(members: Mapping[str, str]) -> str:
    lines = [f"{members['code']}: {members['detail']}"]
    return "\n".join(
        lines
        + [f"  {name}: {members[name]}" for name in ("field", "expected", "got") if name in members]
    )


def _exit(message: str, status: int) -> NoReturn:
    typer.echo(
        "".join(char if char.isprintable() or char == "\n" else "?" for char in message), err=True
    )
    sys.exit(status)


if __name__ == "__main__":
    main()
