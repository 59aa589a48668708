"""`convpress doctor`: which parts of the sandbox work on this host."""

import sys
from json import dumps
from typing import Annotated

import typer

from worker import interpreter
from worker.cli.environment import read_settings
from worker.cli.exits import REFUSED, end, require_extra


def doctor(
    json: Annotated[bool, typer.Option("--json", help="Print JSON")] = False,
) -> None:
    """Check the protections of the sandbox on this host; exit code 1 if one is missing.

    It also warns of known faults of this release of Python.
    """
    require_extra("engine")
    from worker.cli import render
    from worker.sandbox import doctor as walls

    device = read_settings().device
    results = walls.examine(device)
    notes = [*walls.notes(), *interpreter.warnings(sys.version_info[:3])]
    if json:
        checks = [vars(wall) for wall in results]
        typer.echo(dumps({"walls": checks, "notes": notes}, indent=2))
    else:
        console = render.console()
        console.print(render.walls(results))
        for note in notes:
            console.print(note, markup=False, highlight=False)
    try:
        walls.require_device(device)
    except walls.DeviceMissing as error:
        end(str(error), REFUSED)
    if not all(wall.holds for wall in results):
        raise typer.Exit(REFUSED)
