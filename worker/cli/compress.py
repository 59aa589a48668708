"""`convpress compress`: compress a model on this machine."""

from pathlib import Path
from typing import Annotated

import typer

from convpress.options import form_text
from worker.cli.bars.engine_bar import engine_bar
from worker.cli.environment import read_settings
from worker.cli.exits import LOST, end, end_refused, require_extra
from worker.cli.options import (
    AllowIncomplete,
    AtAnyPrice,
    BytesBudget,
    Calibration,
    Evaluation,
    EvaluationMetric,
    EvaluationOutput,
    FlopsBudget,
    InputMean,
    InputRange,
    InputShape,
    InputStd,
    LatencyBudget,
    MaxLoss,
    ModelFile,
    Output,
    ParamsBudget,
    Precision,
    ReportFile,
    Samples,
    Target,
    Threads,
    budgets_by_field,
    check_targets,
    needs_no_budget,
)

_FORMS = "dac, grouped, spatial, tucker2, pointwise-first or low-rank"


def compress(
    model: ModelFile,
    flops_budget: FlopsBudget = None,
    params_budget: ParamsBudget = None,
    bytes_budget: BytesBudget = None,
    latency_budget: LatencyBudget = None,
    max_loss: MaxLoss = None,
    input_shape: InputShape = None,
    output: Output = None,
    report: ReportFile = None,
    flops_at_any_price: AtAnyPrice = False,
    allow_incomplete_account: AllowIncomplete = False,
    precision: Precision = None,
    target: Target = None,
    threads: Threads = None,
    cost_table: Annotated[
        Path | None,
        typer.Option(
            help="Cost table of the target device", exists=True, dir_okay=False
        ),
    ] = None,
    form: Annotated[
        str | None, typer.Option(help=f"Use only this form: {_FORMS}")
    ] = None,
    rank: Annotated[
        int | None,
        typer.Option(help="Use this rank in every layer, instead of a budget"),
    ] = None,
    calibration: Calibration = None,
    samples: Samples = None,
    input_range: InputRange = None,
    input_mean: InputMean = None,
    input_std: InputStd = None,
    evaluation: Evaluation = None,
    evaluation_metric: EvaluationMetric = None,
    evaluation_output: EvaluationOutput = None,
    evaluate: Annotated[
        str | None,
        typer.Option(
            help="Command that prints one number for {model}, instead of --evaluation"
        ),
    ] = None,
    lower_is_better: Annotated[
        bool,
        typer.Option(
            "--lower-is-better", help="The less --evaluate prints, the better"
        ),
    ] = False,
    evaluate_seconds: Annotated[
        float | None,
        typer.Option(help="Time limit of one run of --evaluate; default: an hour"),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda or cuda:N; default: CONVPRESS_DEVICE")
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print the report as JSON")
    ] = False,
) -> None:
    """Compress a model on this machine, without a service."""
    require_extra("engine")
    read_settings()
    from worker import offline
    from worker.cli import render

    budgets = budgets_by_field(
        flops_budget, params_budget, bytes_budget, latency_budget
    )
    is_whole = not budgets and rank is None and needs_no_budget(precision)
    if bool(budgets or max_loss) == (rank is not None) and not is_whole:
        raise typer.BadParameter(
            "give --flops-budget or other budgets, --max-loss, --rank, or --precision int8"
        )
    artifact = check_targets(output, report, model)
    fields = {
        **budgets,
        "max_loss": max_loss,
        "flops_at_any_price": form_text(flops_at_any_price),
        "allow_incomplete_account": form_text(allow_incomplete_account),
        "precision": precision,
        "target": target,
        "threads": None if threads is None else str(threads),
        "input_shape": input_shape,
        "calibration": calibration,
        "input_range": input_range,
        "input_mean": input_mean,
        "input_std": input_std,
        "evaluation_metric": evaluation_metric,
        "evaluation_output": evaluation_output,
    }
    try:
        scorer = offline.read_scorer(
            evaluate, lower_is_better=lower_is_better, seconds=evaluate_seconds
        )
        job = offline.OfflineJob(
            options=offline.read_options(
                fields,
                samples,
                needs_budget=rank is None,
                evaluation=evaluation,
                scorer=scorer,
            ),
            samples=samples,
            evaluation=evaluation,
            scorer=scorer,
            form=form,
            rank=rank,
            cost_table=cost_table,
            device=device,
        )
        with engine_bar() as show:
            account = offline.compress(model, artifact, report, job, on_progress=show)
    except offline.RefusedError as error:
        end_refused(error, json=json)
    except offline.LostError as error:
        end(str(error), LOST)
    if json:
        typer.echo(account.model_dump_json(indent=2))
        return
    console = render.console()
    console.print(render.account(account))
    console.print(f"written to {artifact}", soft_wrap=True, markup=False)
