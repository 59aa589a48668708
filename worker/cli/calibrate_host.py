"""`convpress calibrate-host`: measure this host's cost tables."""

import typer

from worker.cli.environment import read_settings
from worker.cli.exits import LOST, end, require_extra


def calibrate_host() -> None:
    """Measure the time of layers on this host, for latency budgets; an idle host is best."""
    require_extra("engine")
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from worker.jobs import cost_tables
    from worker.sandbox.doctor import SandboxIncomplete

    settings = read_settings()
    columns = TextColumn("{task.description:12}"), BarColumn(), TimeElapsedColumn()
    try:
        with Progress(*columns, console=Console(stderr=True)) as bars:
            task = bars.add_task("starting", total=1.0)
            tables = cost_tables.calibrate(
                settings,
                lambda what, progress: bars.update(
                    task, description=what, completed=progress.fraction
                ),
            )
    except (SandboxIncomplete, cost_tables.NotMeasuredError) as error:
        end(str(error), LOST)
    for table in tables:
        where = cost_tables.path_of(settings, table.format)
        typer.echo(f"{table.runtime} on {table.host}: {where}")
