"""The command line, `convpress`: one module a command.

Exit codes: 0 done, 1 refused (standard error names the field, what was expected and what came),
2 wrong usage, 3 the engine died or ran out of time, 4 the service is unreachable, busy or broken,
5 the job was cancelled, 130 Ctrl-C.
"""

from importlib.metadata import version
from importlib.util import find_spec
from typing import Annotated

import typer

from worker.cli import (
    advise,
    calibrate_host,
    compress,
    cost_table,
    demo,
    doctor,
    inspect,
    keys,
    serve,
    worker,
)
from worker.cli.remote import (
    cancel,
    download,
    jobs,
    label,
    report,
    status,
    submit,
    wait,
)

app = typer.Typer(
    help="Make trained convolutional networks cheaper, without any data.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command()(serve.serve)
app.command()(worker.worker)
app.add_typer(keys.app, name="keys")
app.command()(doctor.doctor)
app.command()(calibrate_host.calibrate_host)
app.add_typer(cost_table.app, name="cost-table")
app.command()(compress.compress)
app.command()(submit.submit)
app.command()(jobs.jobs)
app.command()(status.status)
app.command()(wait.wait)
app.command()(download.download)
app.command()(report.report)
app.command()(cancel.cancel)
app.command()(label.label)
app.command()(inspect.inspect)
app.command()(advise.advise)
app.command()(demo.demo)


def print_version(asked: bool) -> None:
    """Print the version and end, if that was asked for."""
    if asked:
        typer.echo(f"convpress {version('convpress')}")
        raise typer.Exit


@app.callback()
def options(
    _version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=print_version,
            is_eager=True,
            help="Print the version and exit",
        ),
    ] = False,
) -> None:
    """Make trained convolutional networks cheaper, without any data."""


def main() -> None:
    """Run the command line; standard output has results alone, and standard error the logs."""
    # A client alone has no structlog, and logs nothing.
    if find_spec("structlog") is not None:
        from app.logging import configure_logging

        configure_logging("WARNING")
    app()
