"""`convpress inspect`: a model's format, inputs, layers and cost."""

from typing import Annotated

import typer

from worker.cli.environment import read_settings
from worker.cli.exits import LOST, end, end_refused, require_extra
from worker.cli.options import InputShape, ModelFile


def inspect(
    model: ModelFile,
    input_shape: InputShape = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON")] = False,
) -> None:
    """Show a model's format, inputs, outputs, layers and cost."""
    require_extra("engine")
    read_settings()
    from worker import offline
    from worker.cli import render

    try:
        content, inspection = offline.inspect(model, input_shape)
    except offline.RefusedError as error:
        end_refused(error, json=json)
    except offline.LostError as error:
        end(str(error), LOST)
    if json:
        typer.echo(content)
        return
    console = render.console()
    console.print(render.overview(inspection))
    if inspection.sites or inspection.missing is None:
        console.print(render.inspection(inspection))
    if inspection.missing is not None:
        console.print(
            f"Not all of the cost is known: {inspection.missing}. It may depend on --input-shape.",
            markup=False,
        )
