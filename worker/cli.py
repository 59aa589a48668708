"""The command line: `convpress serve`, `worker`, `compress`, `inspect` and `demo`.

Exit codes: 0 done, 1 refused (standard error names the field, what was expected and what came), 2 wrong usage, 3 the
engine died or ran out of time.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from app.settings import Settings

app = typer.Typer(
    help="Make trained convolutional networks cheaper, without any data.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

keys_app = typer.Typer(help="Make, list and revoke API keys.", no_args_is_help=True)
app.add_typer(keys_app, name="keys")

_REFUSED, _USAGE, _LOST = 1, 2, 3

ModelFile = Annotated[Path, typer.Argument(help="ONNX model or TorchScript archive", exists=True, dir_okay=False)]
_FORMS = "dac, grouped, spatial, tucker2, pointwise-first or low-rank"

Budget = Annotated[str | None, typer.Option(help="What to keep: 0.5, 50%, 7.2G (FLOPs), 3.6GMACs")]
InputShape = Annotated[str | None, typer.Option(help="Such as 1x3x224x224, where the model does not carry it")]


@app.command()
def serve() -> None:
    """Run the whole service here: database, API and a worker; Ctrl-C stops everything."""
    from worker.doctor import WallsMissing
    from worker.supervisor import CannotListen
    from worker.supervisor import serve as serve_until_stopped

    try:
        serve_until_stopped(_settings())
    except (CannotListen, WallsMissing) as error:
        _exit(str(error), _REFUSED)


@app.command()
def worker() -> None:
    """Work on jobs until told to stop."""
    from worker.doctor import WallsMissing, require

    try:
        require(_settings())
    except WallsMissing as error:
        _exit(str(error), _REFUSED)
    from worker.celery_app import run_worker

    raise typer.Exit(run_worker())


@keys_app.command("create")
def create_key(
    owner: Annotated[str, typer.Argument(help="Whose jobs the key posts and sees")],
    scope: Annotated[list[str] | None, typer.Option(help="submit, read or admin; default: submit and read")] = None,
) -> None:
    """Make a key and print it; it is not kept and cannot be shown again."""
    from app import keys

    with _database() as session:
        try:
            _, token = keys.create(session, owner, scope or ["submit", "read"])
        except ValueError as error:
            _exit(str(error), _USAGE)
    typer.echo(token)


@keys_app.command("list")
def list_keys() -> None:
    """List all keys, without their secrets."""
    from app import keys
    from worker import tables

    with _database() as session:
        tables.console().print(tables.keys(keys.listed(session)))


@keys_app.command("revoke")
def revoke_key(number: Annotated[str, typer.Argument(metavar="ID", help="The key's id, as `list` shows it")]) -> None:
    """Make a key invalid from now on."""
    from app import keys

    with _database() as session:
        revoked = keys.revoke(session, number)
    if not revoked:
        _exit(f"there is no valid key {number}", _REFUSED)


@app.command()
def doctor() -> None:
    """Say which walls stand around a model on this host; exit code 1 if one is missing."""
    from worker import doctor as walls
    from worker import tables

    found = walls.examine()
    tables.console().print(tables.walls(found))
    if not all(wall.stands for wall in found):
        raise typer.Exit(_REFUSED)


@app.command()
def compress(
    model: ModelFile,
    flops_budget: Budget = None,
    input_shape: InputShape = None,
    output: Annotated[Path | None, typer.Option(help="Default: MODEL.convpress, with MODEL's suffix")] = None,
    report: Annotated[Path | None, typer.Option(help="Write the account here, as JSON")] = None,
    form: Annotated[str | None, typer.Option(help=f"Admit this form alone: {_FORMS}")] = None,
    rank: Annotated[int | None, typer.Option(help="One rank everywhere, in the budget's place")] = None,
    calibration: Annotated[str | None, typer.Option(help="Inputs to measure on: synthetic, samples or none")] = None,
    samples: Annotated[
        Path | None, typer.Option(help="Real inputs: .npz by name, or .npy", exists=True, dir_okay=False)
    ] = None,
    input_range: Annotated[str | None, typer.Option(help="What values images have, such as 0,255")] = None,
    input_mean: Annotated[str | None, typer.Option(help="In the range's place, such as 0.485,0.456,0.406")] = None,
    input_std: Annotated[str | None, typer.Option(help="With the mean, such as 0.229,0.224,0.225")] = None,
) -> None:
    """Compress a model offline, as the service does it."""
    from worker import offline, tables

    if (flops_budget is None) == (rank is None):
        raise typer.BadParameter("give --flops-budget or --rank")
    target = output or model.with_name(f"{model.stem}.convpress{model.suffix}")
    _check_target(target, model, "--output")
    if report is not None:
        _check_target(report, model, "--report")
        if report.absolute() == target.absolute():
            raise typer.BadParameter("it is the output as well", param_hint="--report")
    try:
        asked = offline.Asked(
            flops_budget=flops_budget,
            input_shape=input_shape,
            form=form,
            rank=rank,
            calibration=offline.read_calibration(calibration, samples),
            samples=None if samples is None else str(samples.absolute()),
            input_range=input_range,
            input_mean=input_mean,
            input_std=input_std,
        )
        account = offline.compress(model, target, report, asked)
    except offline.RefusedError as error:
        _refuse(error)
    except offline.LostError as error:
        _exit(str(error), _LOST)
    console = tables.console()
    console.print(tables.account(account))
    if note := account.budget.get("note"):
        console.print(note)
    console.print(f"written to {target}", soft_wrap=True, markup=False)


@app.command()
def inspect(
    model: ModelFile,
    input_shape: InputShape = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON")] = False,
) -> None:
    """Tell a model's format, inputs, outputs, convolutions and multiply-accumulates."""
    from worker import offline, tables

    try:
        content, found = offline.inspect(model, input_shape)
    except offline.RefusedError as error:
        _refuse(error)
    except offline.LostError as error:
        _exit(str(error), _LOST)
    if json:
        typer.echo(content)
        return
    console = tables.console()
    console.print(tables.overview(found))
    if found.missing is None:
        console.print(tables.inspection(found))
    else:
        console.print(f"The cost depends on the input shape: {found.missing}. Give --input-shape.", markup=False)


@app.command()
def demo(
    model: Annotated[Path, typer.Argument(help="The model to post", exists=True, dir_okay=False)] = Path(
        "tests/models/residual.onnx"
    ),
) -> None:
    """Start the service, compress a sample model through it, show the result, and serve on until Ctrl-C."""
    from worker import demonstration
    from worker.supervisor import CannotListen

    try:
        demonstration.run(model, _settings())
    except (CannotListen, demonstration.DemonstrationError) as error:
        _exit(str(error), _REFUSED)


def main() -> None:
    """Run the command line."""
    app()


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
            ": ".join([*(f"CONVPRESS_{name}".upper() for name in each["loc"]), each["msg"]]) for each in error.errors()
        ]
        _exit("\n".join(wrong), _USAGE)


@contextmanager
def _database() -> Iterator["Session"]:
    """Open a transaction on the database, which is brought up to date first."""
    from app.db import transaction
    from app.migrations import migrate

    settings = _settings()
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    migrate(settings.sql_url)
    with transaction() as session:
        yield session


def _refuse(error: Exception) -> NoReturn:
    from worker.offline import RefusedError

    assert isinstance(error, RefusedError)
    lines = [f"{error.members['code']}: {error.members['detail']}"]
    lines += [f"  {name}: {error.members[name]}" for name in ("field", "expected", "got") if name in error.members]
    _exit("\n".join(lines), _REFUSED)


def _exit(message: str, status: int) -> NoReturn:
    typer.echo("".join(char if char.isprintable() or char == "\n" else "?" for char in message), err=True)
    sys.exit(status)


if __name__ == "__main__":
    main()
