"""The command line, `convpress`: one module a command.

Exit codes: 0 done, 1 refused (standard error names the field, what was expected and what came),
2 wrong usage, 3 the engine died or ran out of time, 4 the service is unreachable, busy or broken,
5 the job was cancelled.
"""

import typer

from worker.cli import calibrate_host, compress, demo, doctor, inspect, keys, serve, submit, worker

app = typer.Typer(
    help="Make trained convolutional networks cheaper, without any data.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(serve.serve)
app.command()(worker.worker)
app.add_typer(keys.app, name="keys")
app.command()(doctor.doctor)
app.command()(calibrate_host.calibrate_host)
app.command()(compress.compress)
app.command()(submit.submit)
app.command()(inspect.inspect)
app.command()(demo.demo)


def main() -> None:
    """Run the command line."""
    app()
