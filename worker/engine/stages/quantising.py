"""Quantise: rewrite an artifact in int8, where the plan says so."""

from dataclasses import replace
from pathlib import Path

from convpress import report as records
from worker.engine.formats.adapter import Int8Layers
from worker.engine.request import Request
from worker.engine.stages.int8_plan import int8_writer
from worker.engine.stages.writing import WrittenArtifact

_LOSES_TOO_MUCH = "int8 loses too much at it"


def quantise(request: Request, artifact: WrittenArtifact) -> WrittenArtifact:
    """Return the artifact with its file in int8 and its sites told so; as it is without a plan.

    Raises:
        Refusal: int8 applies to no layer, or the model cannot be written in int8.
    """
    plan = artifact.int8
    if plan is None:
        return artifact
    layers = int8_writer(request.format).write(Path(request.output), plan.inputs, plan.float_sites)
    sites = [_with_precision(site, layers) for site in artifact.sites]
    # the inputs are of no use any more
    return replace(artifact, sites=sites, int8=None)


def _with_precision(site: records.Site, layers: Int8Layers) -> records.Site:
    """Return the account of a site with what int8 did to it."""
    loss = layers.losses.get(site.name)
    if site.name in layers.sites:
        return replace(site, int8=True, int8_loss=loss)
    if loss is None:
        return site
    return replace(site, int8_loss=loss, reason=site.reason or _LOSES_TOO_MUCH)
