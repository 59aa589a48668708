"""`convpress submit`: compress a model by a running service."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from convpress import budgets
from convpress.bundling import weight_files
from convpress.local import default_output
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
    Labels,
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
    parse_labels,
)
from worker.cli.remote.connection import (
    DEFAULT_PATIENCE,
    DEFAULT_SERVER,
    Json,
    Key,
    Patience,
    Server,
    connected,
)

if TYPE_CHECKING:
    from convpress.client.arguments import Options


def submit(
    model: ModelFile,
    flops_budget: FlopsBudget = None,
    params_budget: ParamsBudget = None,
    bytes_budget: BytesBudget = None,
    latency_budget: LatencyBudget = None,
    max_loss: MaxLoss = None,
    flops_at_any_price: AtAnyPrice = False,
    allow_incomplete_account: AllowIncomplete = False,
    precision: Precision = None,
    target: Target = None,
    threads: Threads = None,
    server: Server = DEFAULT_SERVER,
    key: Key = None,
    input_shape: InputShape = None,
    output: Output = None,
    report: ReportFile = None,
    calibration: Calibration = None,
    samples: Samples = None,
    input_range: InputRange = None,
    input_mean: InputMean = None,
    input_std: InputStd = None,
    evaluation: Evaluation = None,
    evaluation_metric: EvaluationMetric = None,
    evaluation_output: EvaluationOutput = None,
    label: Labels = None,
    idempotency_key: Annotated[
        str | None,
        typer.Option(help="A repeated request with this key returns the same job"),
    ] = None,
    patience: Patience = DEFAULT_PATIENCE,
    json: Json = False,
) -> None:
    """Compress a model with a running service. After Ctrl-C the job continues there.

    Exit codes: 0 the artifact is written, 1 the model or the request was refused,
    2 wrong usage, 3 the engine died or ran out of time, 4 the service is
    unreachable, busy or broken, 5 the job was cancelled, 130 Ctrl-C.
    """
    from worker.cli import render
    from worker.cli.remote.submission import Submission, submit_and_wait, written_line

    artifact = check_targets(output or _default_artifact(model), report, model)
    members: dict[str, object] = {
        "input_shape": input_shape,
        "calibration": calibration,
        "samples": samples,
        "input_range": input_range,
        "input_mean": input_mean,
        "input_std": input_std,
        "evaluation": evaluation,
        "evaluation_metric": evaluation_metric,
        "evaluation_output": evaluation_output,
        "max_loss": max_loss,
        "labels": parse_labels(label or []),
        "flops_at_any_price": flops_at_any_price,
        "allow_incomplete_account": allow_incomplete_account,
        "precision": precision,
        "target": target,
        "threads": threads,
        **budgets_by_field(None, params_budget, bytes_budget, latency_budget),
    }
    has_budget = flops_budget is not None or max_loss or members.keys() & budgets.KINDS
    if not has_budget and not needs_no_budget(precision):
        raise typer.BadParameter(
            "give --flops-budget, another budget, --max-loss, or --precision int8"
        )
    options = cast("Options", {name: value for name, value in members.items() if value})
    submission = Submission(model, flops_budget, artifact, idempotency_key)
    with connected(server, key, patience, json=json) as client:
        job, account = submit_and_wait(client, submission, options, quiet=json)
    if report is not None:
        report.write_text(account.model_dump_json(indent=2))
    if json:
        typer.echo(job.model_dump_json(indent=2))
        return
    console = render.console()
    console.print(render.account(account))
    console.print(written_line(job, artifact), soft_wrap=True, markup=False)


def _default_artifact(model: Path) -> Path:
    """Return the path of an artifact, an archive where the model is sent as one."""
    artifact = default_output(model)
    return artifact.with_suffix(".zip") if weight_files(model) else artifact
