"""A trial of a choice: the model is written with layers of the chosen shapes and no content, and its file looked at.

Names, code, alignment and biases are in no layer's arithmetic, and every format has its own; the file has them all.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from convpress.formats import Format
from worker.engine.formats import open_model
from worker.engine.model import Site
from worker.engine.numerics.convolution import Convolution, Layer
from worker.engine.selection.candidates import ORIGINAL, Candidate, Offer
from worker.engine.selection.units import Limit

Arrange = Callable[[Site, Sequence[Layer]], Sequence[Sequence[Layer]]]
"""What says which chains, summed, are written for the layers that take a site's place."""


def tried(
    model_format: Format,
    source: Path,
    target: Path,
    shapes: Mapping[str, tuple[int, ...]],
    arrange: Arrange,
    offers: Sequence[Offer],
    chosen: Sequence[Candidate],
    limits: Sequence[Limit],
) -> list[Limit]:
    """Return the limits with what a factored site takes beside its weights as the model at `source` shows it.

    They are the same limits where the choice fits. `target` is written and deleted. `arrange` says which chains are
    written for a site's layers.
    """
    factored = {
        offer.site.name: candidate.convolutions
        for offer, candidate in zip(offers, chosen, strict=True)
        if candidate.form != ORIGINAL
    }
    if not factored:
        return list(limits)
    with _written(model_format, source, target, shapes, arrange, factored):
        counts = {
            "bytes": target.stat().st_size,
            "parameters": open_model(model_format, target).parameters,
        }
    return [
        replace(
            limit,
            extra=limit.extra
            + max(0, math.ceil((counts[limit.unit] - limit.allowed) / len(factored))),
        )
        if limit.unit in counts
        else limit
        for limit in limits
    ]


@contextmanager
def _written(
    model_format: Format,
    source: Path,
    target: Path,
    shapes: Mapping[str, tuple[int, ...]],
    arrange: Arrange,
    factored: Mapping[str, Sequence[Convolution]],
) -> Iterator[None]:
    model = open_model(model_format, source)
    for site in model.count(shapes).sites:
        if site.name in factored:
            model.replace(site, *arrange(site, _empty(factored[site.name])))
    model.save(target)
    try:
        yield
    finally:
        target.unlink()


def _empty(convolutions: Sequence[Convolution]) -> list[Layer]:
    """Return layers of zeros, the last with a bias, as it may have one."""
    weights = [np.zeros(convolution.weight_shape, np.float32) for convolution in convolutions]
    biases = [None] * (len(weights) - 1) + [np.zeros(convolutions[-1].out_channels, np.float32)]
    return [Layer(*parts) for parts in zip(convolutions, weights, biases, strict=True)]
