"""Batches are distilled to the same images on any number of threads."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from support.engine.programs import chained, layer, norm

from worker.engine.calibration.inputs.distil import DistillingError
from worker.engine.calibration.inputs.distiller import Distiller
from worker.engine.numerics import parallel
from worker.engine.program import Program

RNG = np.random.default_rng
BATCHES = 5


@dataclass(frozen=True)
class OneInput:
    """What a distiller reads of a harness."""

    program: Program
    gradient_input: str | None = "v0"
    batch: int = 4


@pytest.fixture
def on_threads(monkeypatch):
    monkeypatch.setattr(parallel, "_threads", 1)
    return parallel.choose


def network(*behind):
    rng = RNG(1)
    first, second = layer(rng, (8, 3, 3, 3)), layer(rng, (8, 8, 3, 3))
    return chained(
        ("a", first), norm(rng, 8), torch.relu, ("b", second), norm(rng, 8), *behind
    )


def batches():
    return [
        {"v0": torch.from_numpy(RNG(at).standard_normal((4, 3, 12, 12), np.float32))}
        for at in range(BATCHES)
    ]


def test_images_are_the_same_on_any_number_of_threads_and_progress_comes_in_order(
    on_threads,
):
    results = []
    for threads in (1, 2, 4):
        on_threads(threads)
        shares = []
        distiller = Distiller(OneInput(network()), BATCHES * 4 * 6, 0.7, shares.append)
        results.append(distiller.distil(batches(), 6, 3))
        assert shares == pytest.approx([0.14, 0.28, 0.42, 0.56, 0.7])
    for others in results[1:]:
        pairs = zip(results[0], others, strict=True)
        assert all(torch.equal(one["v0"], other["v0"]) for one, other in pairs)
    assert not torch.equal(results[0][0]["v0"], batches()[0]["v0"])


@pytest.mark.parametrize("threads", [1, 2])
def test_a_model_without_gradients_is_refused_on_any_number_of_threads(
    on_threads, threads
):
    on_threads(threads)
    without = chained(lambda x: x.numpy() and x, norm(RNG(1), 3))
    with pytest.raises(DistillingError, match="no gradients"):
        Distiller(OneInput(without), 1, 0.7, lambda _: None).distil(batches(), 2, 3)
