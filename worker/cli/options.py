"""Options that several commands share, and their checks."""

from pathlib import Path
from typing import Annotated

import typer

from convpress import budgets
from convpress.formats import NOUNS
from convpress.local import default_output
from convpress.precision import FLOAT, INT8, PRECISIONS
from convpress.targets import TARGETS

ModelFile = Annotated[
    Path, typer.Argument(help=NOUNS[0].upper() + NOUNS[1:], exists=True, dir_okay=False)
]
FlopsBudget = Annotated[
    str | None, typer.Option(help="FLOPs to keep: 0.5, 50%, 7.2G, 3.6GMACs, or auto")
]
ParamsBudget = Annotated[
    str | None, typer.Option(help="Parameters to keep: 0.6, 60%, 5.4M")
]
BytesBudget = Annotated[
    str | None, typer.Option(help="File size to keep: 0.6, 60%, 20MB")
]
LatencyBudget = Annotated[str | None, typer.Option(help="Time to keep: 0.6, 60%, 12ms")]
MaxLoss = Annotated[
    str | None,
    typer.Option(help="Largest loss, in place of --flops-budget: 1%, or 0.4dB of PSNR"),
]
Evaluation = Annotated[
    Path | None,
    typer.Option(
        help="Labels or targets with inputs (.npz), to measure before and after",
        exists=True,
        dir_okay=False,
    ),
]
EvaluationMetric = Annotated[
    str | None,
    typer.Option(help="Metric of --evaluation: top-1, psnr, mse or mean-iou"),
]
EvaluationOutput = Annotated[
    str | None, typer.Option(help="The output to measure, of a model with several")
]
AtAnyPrice = Annotated[
    bool,
    typer.Option("--flops-at-any-price", help="Allow layers to become slower"),
]
AllowIncomplete = Annotated[
    bool,
    typer.Option(
        "--allow-incomplete-account",
        help="Budget the counted operators alone if others have weights",
    ),
]
Precision = Annotated[
    str | None,
    typer.Option(
        help="float, int8 (ONNX; needs no budget), or auto: chosen by the budgets"
    ),
]
InputShape = Annotated[
    str | None,
    typer.Option(
        help="Input shape, such as 1x3x224x224, if the model does not store it"
    ),
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", help="Default: MODEL.convpress, with MODEL's suffix"
    ),
]
ReportFile = Annotated[Path | None, typer.Option(help="Write the report here, as JSON")]
Calibration = Annotated[
    str | None, typer.Option(help="Calibration inputs: synthetic, samples or none")
]
Target = Annotated[
    str | None,
    typer.Option(
        help=f"Processor to optimise for: {' or '.join(TARGETS)}; default: the host's"
    ),
]
Threads = Annotated[
    int | None, typer.Option(help="Threads that both models are timed on; default: 1")
]
Samples = Annotated[
    Path | None,
    typer.Option(
        help="Real inputs: .npz by name, or .npy", exists=True, dir_okay=False
    ),
]
InputRange = Annotated[
    str | None, typer.Option(help="Range of the input values, such as 0,255")
]
InputMean = Annotated[
    str | None, typer.Option(help="Mean of the input values, instead of the range")
]
InputStd = Annotated[
    str | None, typer.Option(help="Standard deviation, together with the mean")
]


Labels = Annotated[
    list[str] | None,
    # The names of options would not fit beside the type of a list.
    typer.Option(metavar="<str>", help="Label of the job, name=value; can be repeated"),
]


def parse_labels(pairs: list[str]) -> dict[str, str]:
    """Read labels that are given one by one, each as name=value."""
    split = [pair.partition("=") for pair in pairs]
    if not all(equals for _, equals, _ in split):
        raise typer.BadParameter("a label is name=value", param_hint="--label")
    return {name: value for name, _, value in split}


def check_targets(output: Path | None, report: Path | None, model: Path) -> Path:
    """Return the path of the artifact.

    Artifact and report must be writable, and neither may be the model or the other.
    """
    target = output or default_output(model)
    _check_not_model(target, model, "--output")
    if report is not None:
        _check_not_model(report, model, "--report")
        if report.absolute() == target.absolute():
            raise typer.BadParameter("it is the output as well", param_hint="--report")
    return target


def _check_not_model(target: Path, model: Path, option: str) -> None:
    """Refuse a target that cannot be written, or that is the model."""
    check_target(target, option)
    if target.exists() and target.samefile(model):
        raise typer.BadParameter("it would overwrite the model", param_hint=option)


def check_target(target: Path, option: str) -> None:
    """Refuse a target before the work where it cannot be written."""
    if target.is_dir() or not target.absolute().parent.is_dir():
        raise typer.BadParameter(
            f"{target} is a folder, or its folder does not exist", param_hint=option
        )


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


def needs_no_budget(precision: str | None) -> bool:
    """Return whether a precision needs no budget; a misspelt one is refused with what is meant."""
    name = (precision or "").strip().lower() or FLOAT
    return name == INT8 or name not in PRECISIONS
