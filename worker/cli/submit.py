"""`convpress submit`: compress a model by a running service."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from convpress import budgets
from convpress.bundling import weight_files
from convpress.local import default_output
from worker.cli.exits import end_failed
from worker.cli.options import (
    AllowIncomplete,
    AtAnyPrice,
    BytesBudget,
    Calibration,
    FlopsBudget,
    InputMean,
    InputRange,
    InputShape,
    InputStd,
    LatencyBudget,
    ModelFile,
    Output,
    ParamsBudget,
    ReportFile,
    Samples,
    budgets_by_field,
    check_targets,
)

if TYPE_CHECKING:
    from convpress.client.arguments import Options


def submit(
    model: ModelFile,
    flops_budget: FlopsBudget = None,
    params_budget: ParamsBudget = None,
    bytes_budget: BytesBudget = None,
    latency_budget: LatencyBudget = None,
    flops_at_any_price: AtAnyPrice = False,
    allow_incomplete_account: AllowIncomplete = False,
    server: Annotated[str, typer.Option(envvar="CONVPRESS_SERVER")] = "http://127.0.0.1:8000",
    key: Annotated[
        str | None,
        typer.Option(
            envvar="CONVPRESS_KEY",
            help="API key; prefer the variable: other users can read a command line",
        ),
    ] = None,
    input_shape: InputShape = None,
    output: Output = None,
    report: ReportFile = None,
    calibration: Calibration = None,
    samples: Samples = None,
    input_range: InputRange = None,
    input_mean: InputMean = None,
    input_std: InputStd = None,
    label: Annotated[
        list[str] | None, typer.Option(help="Label of the job, name=value; can be repeated")
    ] = None,
    idempotency_key: Annotated[
        str | None,
        typer.Option(help="A repeated request with this key returns the same job"),
    ] = None,
    patience: Annotated[
        float,
        typer.Option(help="Seconds to retry an unreachable or busy service", min=0),
    ] = 60,
    json: Annotated[
        bool, typer.Option("--json", help="Print the job or the problem as JSON, without bars")
    ] = False,
) -> None:
    """Compress a model with a running service. After Ctrl-C the job continues there.

    Exit codes: 0 the artifact is written, 1 the model or the request was refused, 2 wrong usage,
    3 the engine died or ran out of time, 4 the service is unreachable, busy or broken, 5 the job
    was cancelled.
    """
    from convpress import Client, ClientError
    from worker.cli import render
    from worker.cli.submission import Submission, submit_and_wait

    target = check_targets(output or _default_artifact(model), report, model)
    members: dict[str, object] = {
        "input_shape": input_shape,
        "calibration": calibration,
        "samples": samples,
        "input_range": input_range,
        "input_mean": input_mean,
        "input_std": input_std,
        "labels": parse_labels(label or []),
        "flops_at_any_price": flops_at_any_price,
        "allow_incomplete_account": allow_incomplete_account,
        **budgets_by_field(None, params_budget, bytes_budget, latency_budget),
    }
    if flops_budget is None and not members.keys() & budgets.KINDS:
        raise typer.BadParameter("give --flops-budget or another budget")
    options = cast("Options", {name: value for name, value in members.items() if value})
    try:
        client = Client(server, key, patience=patience)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--server") from error
    submission = Submission(model, flops_budget, target, idempotency_key)
    try:
        with client:
            job, account = submit_and_wait(client, submission, options, quiet=json)
    except ClientError as error:
        end_failed(error, json=json)
    if report is not None:
        report.write_text(account.model_dump_json(indent=2))
    if json:
        typer.echo(job.model_dump_json(indent=2))
        return
    console = render.console()
    console.print(render.account(account))
    console.print(f"written to {target}", soft_wrap=True, markup=False)


def _default_artifact(model: Path) -> Path:
    """Return the path of an artifact, an archive where the model is sent as one."""
    artifact = default_output(model)
    return artifact.with_suffix(".zip") if weight_files(model) else artifact


def parse_labels(pairs: list[str]) -> dict[str, str]:
    """Read labels that are given one by one, each as name=value."""
    split = [pair.partition("=") for pair in pairs]
    if not all(equals for _, equals, _ in split):
        raise typer.BadParameter("a label is name=value", param_hint="--label")
    return {name: value for name, _, value in split}
