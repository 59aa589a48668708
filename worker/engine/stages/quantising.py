"""Quantise: rewrite an artifact in int8, where the plan says so."""

from dataclasses import replace
from pathlib import Path

from convpress import report as records
from worker.engine.formats.adapter import Int8Layers
from worker.engine.request import Request
from worker.engine.selection.candidates import ORIGINAL
from worker.engine.stages.int8_plan import int8_writer
from worker.engine.stages.writing import WrittenArtifact

UNKNOWN_RANGE = (
    "the range of the inputs' values is not known, so that the scales of int8 cover several, of "
    "which depthwise layers lose most: set input_range, or send samples"
)
_LOSES_TOO_MUCH = "int8 loses too much at it"
_DOES_NOT_APPLY = (
    "int8 applies to stored weights of float32 outside of branches and loops, and to biases of one "
    "axis"
)


def quantise(request: Request, artifact: WrittenArtifact) -> WrittenArtifact:
    """Return the artifact with its file in int8 and its sites told so; as it is without a plan.

    Raises:
        Refusal: int8 applies to no layer, or the model cannot be written in int8.
    """
    plan = artifact.int8
    if plan is None:
        return artifact
    writer = int8_writer(request.format)
    layers = writer.write(Path(request.output), plan.inputs, plan.float_sites)
    reasons = {
        site.name: writer.why_not([site.convolution])
        for site in artifact.original.profile.sites
        if site.convolution is not None
    }
    sites = [
        site
        if site.name in plan.float_sites
        else _with_precision(site, layers, reasons.get(site.name))
        for site in artifact.sites
    ]
    inputs = artifact.comparison_inputs
    if _depends_on_the_range(artifact, layers):
        inputs = replace(inputs, doubts=(*inputs.doubts, UNKNOWN_RANGE))
    # the inputs of the plan are of no use any more, and the error on held-out ones is that in float
    return replace(
        artifact,
        sites=sites,
        comparison_inputs=inputs,
        held_out_error=None,
        int8=None,
    )


def _depends_on_the_range(artifact: WrittenArtifact, layers: Int8Layers) -> bool:
    """Whether depthwise layers are in int8, for inputs that may have values of several ranges."""
    if len(artifact.calibration.get("ranges", ())) < 2:
        return False
    in_int8 = set(layers.sites)
    for site in artifact.original.profile.sites:
        convolution = site.convolution
        if site.name not in in_int8 or convolution is None:
            continue
        if convolution.groups > 1 and convolution.group_inputs == 1:
            return True
    return False


def _with_precision(
    site: records.Site, layers: Int8Layers, why_not: str | None
) -> records.Site:
    """Return the account of a site with what int8 did to it, and why a whole one is in float.

    `why_not` is the reason of its geometry.
    """
    loss = layers.losses.get(site.name)
    if site.name in layers.sites:
        return replace(site, int8=True, int8_loss=loss)
    reason = site.reason
    if site.form == ORIGINAL:
        reason = _DOES_NOT_APPLY if why_not is None else why_not
        reason = reason if loss is None else _LOSES_TOO_MUCH
    return replace(site, int8_loss=loss, reason=reason)
