"""The overhead of factored sites in the file: names, code, alignment and biases.

Every format has its own, and only the file shows it: the model is written with empty layers of the
chosen shapes, and the file is measured.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from worker.engine.formats import open_model
from worker.engine.model import OpenedModel, Site
from worker.engine.numerics.convolution import Convolution, Layer
from worker.engine.selection.bound_budget import BoundBudget
from worker.engine.selection.candidates import ORIGINAL, Candidate
from worker.engine.selection.narrowing import Narrowing

Arrange = Callable[[Site, Sequence[Layer]], Sequence[Sequence[Layer]]]
"""Returns the chains, to be summed, that are written for the layers in a site's place."""

Finish = Callable[[Path], None]
"""Changes a written file in place."""


def measure_file_overhead(
    opened: OpenedModel,
    scratch: Path,
    arrange: Arrange,
    choice: Sequence[Candidate],
    budgets: Sequence[BoundBudget],
    finish: Finish | None = None,
    narrowings: Sequence[Narrowing] = (),
) -> tuple[BoundBudget, ...]:
    """Write a choice with empty layers, and raise the overhead of each budget that it exceeds.

    `narrowings` are the channels that paths keep. `finish` changes the file as that of the artifact
    will be changed. The excess is divided among the sites that do not stay as they are. The budgets
    are returned as they are where the choice fits. The file is written to `scratch` and deleted.
    """
    shapes_of_layers = {}
    changed = sum(not candidate.is_original for candidate in choice)
    for site, candidate in zip(opened.profile.sites, choice, strict=True):
        if candidate.form != ORIGINAL:
            shapes_of_layers[site.name] = candidate.convolutions
    if not changed:
        return tuple(budgets)
    with _written(opened, scratch, arrange, shapes_of_layers, narrowings):
        if finish is not None:
            finish(scratch)
        model = open_model(opened.format, scratch)
        written = OpenedModel(opened.format, scratch, model, opened.shapes)
        return tuple(_raised(budget, written, changed) for budget in budgets)


def _raised(budget: BoundBudget, written: OpenedModel, changed: int) -> BoundBudget:
    """Return a budget with its overhead raised by the excess of the file over the budget."""
    if not budget.unit.needs_written_file:
        return budget
    amount = budget.unit.measured(written)
    assert amount is not None  # the unit is one that the file shows
    excess = math.ceil((amount - budget.allowed) / changed)
    return replace(budget, overhead=budget.overhead + max(0, excess))


@contextmanager
def _written(
    opened: OpenedModel,
    path: Path,
    arrange: Arrange,
    shapes_of_layers: Mapping[str, Sequence[Convolution]],
    narrowings: Sequence[Narrowing],
) -> Iterator[None]:
    # the model is opened anew: replacing sites changes it, and the opened one is still needed
    model = open_model(opened.format, opened.path)
    sites = model.count(opened.shapes).sites
    for narrowing in narrowings:
        way = narrowing.path
        model.keep_channels(way.values, way.norms, narrowing.kept)
    for site in sites:
        if site.name in shapes_of_layers:
            layers = _empty(shapes_of_layers[site.name])
            model.replace(site, *arrange(site, layers))
    model.save(path)
    try:
        yield
    finally:
        path.unlink()


def _empty(convolutions: Sequence[Convolution]) -> list[Layer]:
    """Return layers of zeros, the last one with a bias: the real one may have it."""
    layers = [
        Layer(convolution, np.zeros(convolution.weight_shape, np.float32), None)
        for convolution in convolutions
    ]
    bias = np.zeros(convolutions[-1].out_channels, np.float32)
    layers[-1] = replace(layers[-1], bias=bias)
    return layers
