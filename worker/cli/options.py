"""Options that several commands share, and their checks."""

from pathlib import Path
from typing import Annotated

import typer

from convpress import budgets

ModelFile = Annotated[
    Path, typer.Argument(help="ONNX model or TorchScript archive", exists=True, dir_okay=False)
]
FlopsBudget = Annotated[str | None, typer.Option(help="FLOPs to keep: 0.5, 50%, 7.2G, 3.6GMACs")]
ParamsBudget = Annotated[str | None, typer.Option(help="Parameters to keep: 0.6, 60%, 5.4M")]
BytesBudget = Annotated[str | None, typer.Option(help="File size to keep: 0.6, 60%, 20MB")]
LatencyBudget = Annotated[str | None, typer.Option(help="Time to keep: 0.6, 60%, 12ms")]
AtAnyPrice = Annotated[
    bool, typer.Option("--flops-at-any-price", help="Keep FLOPs though layers become slower")
]
InputShape = Annotated[str | None, typer.Option(help="1x3x224x224, where the model does not say")]
Output = Annotated[Path | None, typer.Option(help="Default: MODEL.convpress, with MODEL's suffix")]
ReportFile = Annotated[Path | None, typer.Option(help="Write the report here, as JSON")]
Calibration = Annotated[
    str | None, typer.Option(help="Calibration inputs: synthetic, samples or none")
]
Samples = Annotated[
    Path | None,
    typer.Option(help="Real inputs: .npz by name, or .npy", exists=True, dir_okay=False),
]
InputRange = Annotated[str | None, typer.Option(help="Range of the input values, such as 0,255")]
InputMean = Annotated[str | None, typer.Option(help="In place of the range: 0.485,0.456,0.406")]
InputStd = Annotated[str | None, typer.Option(help="With the mean, such as 0.229,0.224,0.225")]


def check_targets(output: Path | None, report: Path | None, model: Path) -> Path:
    """Return the path of the artifact.

    Artifact and report must be writable, and neither may be the model or the other.
    """
    target = output or model.with_name(f"{model.stem}.convpress{model.suffix}")
    _check_target(target, model, "--output")
    if report is not None:
        _check_target(report, model, "--report")
        if report.absolute() == target.absolute():
            raise typer.BadParameter("it is the output as well", param_hint="--report")
    return target


def _check_target(target: Path, model: Path, option: str) -> None:
    """Refuse a target before the work where it cannot or must not be written."""
    if target.is_dir() or not target.absolute().parent.is_dir():
        raise typer.BadParameter(f"{target} is a folder, or in none that exists", param_hint=option)
    if target.exists() and target.samefile(model):
        raise typer.BadParameter("it would overwrite the model", param_hint=option)


def budgets_by_field(
    flops: str | None, params: str | None, size: str | None, latency: str | None
) -> dict[str, str]:
    """Return the budgets that were given, by field."""
    texts = {
        budgets.FLOPS.field: flops,
        budgets.PARAMETERS.field: params,
        budgets.BYTES.field: size,
        budgets.LATENCY.field: latency,
    }
    return {field: text for field, text in texts.items() if text is not None}
