"""`convpress advise`: low rank, int8 or both, measured on this machine."""

from typing import Annotated

import typer

from worker.cli.bars.engine_bar import engine_bar
from worker.cli.environment import read_settings
from worker.cli.exits import LOST, end, end_refused, require_extra
from worker.cli.options import (
    InputMean,
    InputRange,
    InputShape,
    InputStd,
    ModelFile,
    Samples,
)


def advise(
    model: ModelFile,
    input_shape: InputShape = None,
    samples: Samples = None,
    input_range: InputRange = None,
    input_mean: InputMean = None,
    input_std: InputStd = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print the advice as JSON")
    ] = False,
) -> None:
    """Say which way of compressing a model is best on this machine, and why."""
    require_extra("engine")
    read_settings()
    from worker import offline
    from worker.cli import render

    fields = {
        "input_shape": input_shape,
        "input_range": input_range,
        "input_mean": input_mean,
        "input_std": input_std,
    }
    try:
        options = offline.read_options(fields, samples, needs_budget=False)
        with engine_bar() as show:
            advice = offline.advise(model, options, samples, on_progress=show)
    except offline.RefusedError as error:
        end_refused(error, json=json)
    except offline.LostError as error:
        end(str(error), LOST)
    if json:
        typer.echo(advice.model_dump_json(indent=2))
        return
    render.console().print(render.advice(advice))
