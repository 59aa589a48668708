"""`convpress demo`: start the service, and compress a sample model through it."""

from pathlib import Path
from typing import Annotated

import typer

from worker.cli.environment import read_settings
from worker.cli.exits import REFUSED, end, require_extra


def demo(
    model: Annotated[
        Path, typer.Argument(help="The model to post", exists=True, dir_okay=False)
    ] = Path("tests/models/plain.onnx"),
) -> None:
    """Start the service, lead through one job of a sample model, and serve until Ctrl-C."""
    require_extra("server", "engine")
    from worker.cli import demonstration
    from worker.cli.supervisor import CannotListen

    try:
        demonstration.run(model, read_settings())
    except (CannotListen, demonstration.DemonstrationError) as error:
        end(str(error), REFUSED)
