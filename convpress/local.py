"""Compression and inspection of a local file, by a sandboxed engine in its own process."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from convpress.options import form_text
from convpress.refusal import Code, Refusal
from convpress.report import Inspection, Report

# Isolated: neither the working directory nor PYTHONPATH can put another `app` or `worker` before
# ours.
_ENGINE = (sys.executable, "-I", "-m", "worker.offline_answer")
ENGINE_PACKAGES = (
    "torch",
    "onnx",
    "onnxruntime",
    "numpy",
    "scipy",
    "pydantic_settings",
)
"""Packages by which the engine extra is recognised as installed."""

FilePath = str | os.PathLike[str]


class EngineMissing(ImportError):
    """The packages that run models are not installed."""


class EngineLost(RuntimeError):
    """The engine died, ran out of time, or cannot be sandboxed on this host."""


@dataclass(frozen=True)
class Compression:
    """A compressed model: the file that was written, and the report on it."""

    output: Path
    report: Report


def compress(
    model: FilePath,
    *,
    output: FilePath | None = None,
    flops_budget: str | float | None = None,
    params_budget: str | float | None = None,
    bytes_budget: str | float | None = None,
    latency_budget: str | float | None = None,
    max_loss: str | float | None = None,
    flops_at_any_price: bool = False,
    allow_incomplete_account: bool = False,
    precision: str | None = None,
    form: str | None = None,
    rank: int | None = None,
    input_shape: str | None = None,
    calibration: str | None = None,
    samples: FilePath | None = None,
    input_range: str | None = None,
    input_mean: str | None = None,
    input_std: str | None = None,
    evaluation: FilePath | None = None,
    evaluation_metric: str | None = None,
    evaluation_output: str | None = None,
    evaluate: str | None = None,
    lower_is_better: bool = False,
    evaluate_seconds: float | None = None,
    target: str | None = None,
    threads: int | None = None,
    cost_table: FilePath | None = None,
    device: str | None = None,
) -> Compression:
    """Compress a model file, of any format, to fit its budgets.

    Budgets are fractions (0.5, "50%") or amounts ("7.2G", "20MB", "12ms"); `rank` takes their
    place, and so does `precision="int8"`. `max_loss` ("1%") takes that of the FLOPs budget: the
    cheapest artifact that keeps it is looked for, by the file `evaluation` or the command
    `evaluate` if there is one. The command has `{model}` in the place of a model's path and prints
    one number. It runs with the caller's rights, outside of the sandbox, for up to
    `evaluate_seconds` (an hour).

    `target` names a processor whose shipped cost table is used, and `cost_table` the file of a
    table of another device. Without them it is this host's. Both models are timed on `threads`.

    The output is `MODEL.convpress` with the model's suffix unless it is named. The other options
    are those of `POST /jobs`.

    Raises:
        EngineMissing: the engine extra is not installed.
        Refusal: the model, a budget or an option cannot be served.
        EngineLost: the engine did not finish.
    """
    source = Path(model)
    artifact = default_output(source) if output is None else Path(output)
    values = {
        "flops_budget": flops_budget,
        "params_budget": params_budget,
        "bytes_budget": bytes_budget,
        "latency_budget": latency_budget,
        "max_loss": max_loss,
        "flops_at_any_price": flops_at_any_price,
        "allow_incomplete_account": allow_incomplete_account,
        "precision": precision,
        "input_shape": input_shape,
        "calibration": calibration,
        "input_range": input_range,
        "input_mean": input_mean,
        "input_std": input_std,
        "evaluation_metric": evaluation_metric,
        "evaluation_output": evaluation_output,
        "target": target,
        "threads": threads,
    }
    request = {
        "command": "compress",
        # Absolute paths: the sandboxed child runs in a folder of its own.
        "model": str(source.absolute()),
        "output": str(artifact.absolute()),
        "fields": {
            name: _field_text(value)
            for name, value in values.items()
            if value is not None
        },
        "form": form,
        "rank": rank,
        "samples": _absolute(samples),
        "evaluation": _absolute(evaluation),
        "evaluate": evaluate,
        "lower_is_better": lower_is_better,
        "evaluate_seconds": evaluate_seconds,
        "cost_table": _absolute(cost_table),
        "device": device,
    }
    return Compression(artifact, Report.model_validate(_run_engine(source, request)))


def inspect(model: FilePath, *, input_shape: str | None = None) -> Inspection:
    """Return a model's format, inputs, outputs and layers; with their cost if the shape is known.

    Raises:
        EngineMissing: the engine extra is not installed.
        Refusal: the model cannot be opened, or does not take this input shape.
        EngineLost: the engine did not finish.
    """
    source = Path(model)
    request = {
        "command": "inspect",
        "model": str(source.absolute()),
        "input_shape": input_shape,
    }
    return Inspection.model_validate(_run_engine(source, request))


def default_output(model: Path) -> Path:
    """Return the path of an artifact where none is named: `MODEL.convpress`, with its suffix."""
    return model.with_name(f"{model.stem}.convpress{model.suffix}")


def _field_text(value: str | float) -> str:
    """Return the text of a form field; a number is written without an exponent."""
    # `str` writes 1e-05, which is not a budget.
    if isinstance(value, float):
        return format(Decimal(repr(value)), "f")
    return form_text(value)


def _absolute(path: FilePath | None) -> str | None:
    return None if path is None else str(Path(path).absolute())


def _run_engine(model: Path, request: dict[str, Any]) -> dict[str, Any]:
    """Run the engine on a request, and return the account that it wrote."""
    # `find_spec` imports nothing: an import of torch alone takes seconds.
    missing = [name for name in ENGINE_PACKAGES if find_spec(name) is None]
    if missing:
        raise EngineMissing(
            f"compress() and inspect() need the engine, and {', '.join(missing)} is missing: "
            "pip install 'convpress[engine]'"
        )
    if not model.is_file():
        raise FileNotFoundError(f"there is no model at {model}")
    for name in ("samples", "evaluation", "cost_table"):
        path = request.get(name)
        if path is not None and not Path(path).is_file():
            raise FileNotFoundError(f"there is no file at {path}, the {name}")
    if "output" in request and not Path(request["output"]).parent.is_dir():
        raise FileNotFoundError(
            f"there is no folder for the output {request['output']}"
        )
    engine = subprocess.run(  # noqa: S603 - our own module
        _ENGINE, input=json.dumps(request), capture_output=True, text=True, check=False
    )
    if engine.returncode != 0:
        # The last line of a traceback names the error; the lines before are of no use to a caller.
        last_line = engine.stderr.strip().rpartition("\n")[2]
        raise EngineLost(
            f"the engine ended with status {engine.returncode}: {last_line}"
        )
    answer = json.loads(engine.stdout)
    if "refusal" in answer:
        # Raised again here, as if there were no other process.
        members = answer["refusal"]
        raise Refusal(Code(members.pop("code")), members.pop("detail"), **members)
    if "lost" in answer:
        raise EngineLost(answer["lost"])
    account: dict[str, Any] = answer["account"]
    return account
