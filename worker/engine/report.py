"""The account of a compression, as JSON; its fields are stable."""

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from convpress.formats import FORMATS, Format
from convpress.shapes import format_shape
from worker.engine.costs.table import CostTable
from worker.engine.model import CostProfile, Site, TensorSpec
from worker.engine.numerics import device
from worker.engine.numerics.flops import FLOPS_PER_MAC
from worker.engine.selection.analysis import Analysis, Point
from worker.engine.selection.candidates import ORIGINAL, Candidate, Offer
from worker.engine.selection.layout import branch_convolutions, branch_number, layout_of
from worker.engine.verify import Comparison

if TYPE_CHECKING:
    from worker.engine.calibration.calibrate import Calibration
    from worker.engine.calibration.refit.select_refit import Refinement

CONVENTION = (
    "FLOPs = 2 x MACs. A convolution counts one MAC per weight and output position (input position if transposed), "
    "padding included; a matrix product one per output element and summed element. Bias, normalisation and "
    "activations are not counted; uncounted operators are listed with their number. Weights that are used several "
    "times count for every call; of the courses through a model's Ifs counts the dearest (ONNX) or the one that is "
    "taken (TorchScript). A free batch counts as 1."
)


def describe_inputs(
    specs: Sequence[TensorSpec], shapes: Mapping[str, tuple[int, ...]]
) -> list[dict[str, Any]]:
    """Return the inputs with the shapes that everything was counted for."""
    return [
        {"name": spec.name, "dtype": spec.dtype, "shape": format_shape(shapes[spec.name])}
        for spec in specs
    ]


def describe_tensors(specs: Sequence[TensorSpec]) -> list[dict[str, Any]]:
    """Return tensors as the model declares them; the shape is None where it declares none."""
    return [
        {
            "name": spec.name,
            "dtype": spec.dtype,
            "shape": None if spec.shape is None else format_shape(spec.shape),
        }
        for spec in specs
    ]


def describe_count(count: CostProfile) -> dict[str, Any]:
    """Return a model's sites and their costs before anything was done to them."""
    return {
        "macs": count.macs,
        "flops": FLOPS_PER_MAC * count.macs,
        "courses": list(count.execution_paths),
        "sites": [
            {
                "name": site.name,
                "op": site.op,
                "weight_shape": list(site.weight_shape),
                "macs": site.macs,
                "calls": sum(call.times for call in site.calls),
                "courses": _courses(site),
                "reason": site.reason,
            }
            for site in count.sites
        ],
        "uncounted": dict(sorted(count.uncounted.items())),
    }


def _courses(site: Site) -> list[int] | None:
    """Return along which of the model's courses a site runs, by their places; None where there is one course."""
    return (
        [course for course, macs in enumerate(site.execution_paths) if macs]
        if site.execution_paths
        else None
    )


def describe_cost(
    count: CostProfile, parameters: int, size: int, latency_ms: float
) -> dict[str, Any]:
    """Return one side of before and after."""
    return {
        "macs": count.macs,
        "flops": FLOPS_PER_MAC * count.macs,
        "courses": list(count.execution_paths),
        "parameters": parameters,
        "bytes": size,
        "latency_ms": round(latency_ms, 4),
    }


def describe_site(offer: Offer, chosen: Candidate, target: Format | CostTable) -> dict[str, Any]:
    """Return what became of a site; `error` is the energy of its outputs' difference over that of its outputs.

    `layers` are those of one of the `branches`, whose outputs are summed; `target` is what decides how many.
    """
    is_whole = layout_of(offer.site, chosen.convolutions, target) == "whole"
    layers = chosen.convolutions if is_whole else branch_convolutions(chosen.convolutions)
    reason = offer.reason or (
        "the budget is met without factoring it" if chosen.form == ORIGINAL else None
    )
    return {
        "name": offer.site.name,
        "op": offer.site.op,
        "weight_shape": list(offer.site.weight_shape),
        "form": chosen.form,
        "variant": chosen.variant,
        "rank": chosen.rank,
        "layers": [list(made.weight_shape) for made in layers],
        "branches": 1 if is_whole else branch_number(chosen.convolutions),
        "macs_before": offer.site.macs,
        "macs_after": chosen.macs,
        "courses": _courses(offer.site),
        "ms_before": _milliseconds(offer.candidates[0].nanoseconds),
        "ms_after": _milliseconds(chosen.nanoseconds),
        "error": chosen.error,
        "reason": reason,
    }


def describe_engine(
    model_format: Format, seconds: Mapping[str, float], *, reused: bool
) -> dict[str, Any]:
    """Return the versions and the device that did the work, the seconds of each phase, and if an analysis was kept."""
    packages = ("convpress", "numpy", *FORMATS[model_format].packages)
    return {
        "versions": {"python": platform.python_version()}
        | {package: version(package) for package in packages},
        "device": device.chosen(),
        "analysis_reused": reused,
        "seconds": {phase: round(spent, 3) for phase, spent in seconds.items()},
    }


def describe_comparison(comparison: Comparison, count: int, *, calibrated: bool) -> dict[str, Any]:
    """Return how the artifact, loaded from its file, compared with the original on the same fresh inputs."""
    return {
        "inputs": "synthetic, of another kind than was calibrated on"
        if calibrated
        else "standard normal",
        "runs": count,
        "outputs": list(comparison.outputs),
        "relative_error": comparison.relative_error,
        "agreement": comparison.agreement,
        "finite": comparison.finite,
    }


def describe_frontier(points: Sequence[Point], analysis: Analysis) -> list[dict[str, Any]]:
    """Return what other budgets would give: the predicted error of the outputs at each cost, the cheapest first."""
    return [
        {
            "macs": point.macs,
            "keep": point.macs / analysis.macs,
            "latency_keep": point.nanoseconds / analysis.nanoseconds
            if point.nanoseconds is not None and analysis.nanoseconds
            else None,
            "budget_keep": point.share,
            "predicted_error": point.error,
        }
        for point in points
    ]


def describe_latency(
    table: CostTable, analysis: Analysis, chosen: Sequence[Candidate]
) -> dict[str, Any]:
    """Return what the sites take by the cost table, those apart that have no price in it, and which table that is."""
    return {
        "predicted_before_ms": _milliseconds(analysis.nanoseconds),
        "predicted_after_ms": _milliseconds(analysis.time(chosen)),
        "unpriced_sites": sum(original.nanoseconds is None for original in analysis.originals),
        "runtime": table.runtime,
        "host": table.host,
        "table_sha256": table.digest,
    }


def expected_ms(latency: Mapping[str, Any], measured_ms: float) -> float | None:
    """Return what the compressed model should take where the original takes so long: the share that its sites keep.

    What lies between the sites is taken to shrink with them, since the table's times are those of layers alone, whose
    inputs no other layer has just displaced from the caches.

    >>> expected_ms({"predicted_before_ms": 2.0, "predicted_after_ms": 1.0}, 3.0)
    1.5
    """
    before, after = latency["predicted_before_ms"], latency["predicted_after_ms"]
    return round(measured_ms * after / before, 4) if before else None


def _milliseconds(nanoseconds: int | None) -> float | None:
    return None if nanoseconds is None else round(nanoseconds / 1e6, 6)


def describe_calibration(
    calibration: "Calibration | str", refinement: "Refinement | None"
) -> dict[str, Any]:
    """Return how the inputs' statistics were found, or why the weights counted alone, and what the refit did."""
    if isinstance(calibration, str):
        return {"kind": "none", "reason": calibration}
    if refinement is None:
        return dict(calibration.account)
    account = {**calibration.account, "refitted": refinement.refitted}
    errors = {"closed_form": refinement.error_before}
    if refinement.error_after is None:
        notes = [*account["notes"], f"not refitted: {refinement.reason}"]
        return {**account, "notes": notes, "held_out_error": errors}
    return {**account, "held_out_error": {**errors, "refitted": refinement.error_after}}
