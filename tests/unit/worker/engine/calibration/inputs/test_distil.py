"""Distilled images: nearer to stored statistics, deterministic, refused without gradients."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from support.programs import chained, layer, norm

from worker.engine.calibration.class_scores import class_scores
from worker.engine.calibration.inputs.distil import DistillingError, distil, statistics_mismatch
from worker.engine.program import run

RNG = np.random.default_rng


def classifier(*behind):
    rng = RNG(1)
    parts = ("a", layer(rng, (6, 3, 3, 3))), norm(rng, 6), torch.relu, lambda x: x.mean((2, 3))
    return chained(*parts, ("head", layer(rng, (4, 6))), *behind)


def batch(*shape):
    return {"v0": torch.from_numpy(RNG(0).standard_normal(shape).astype(np.float32))}


def value_of(program, inputs, name):
    return run(replace(program, outputs=(name,)), inputs)[0]


def test_the_mismatch_of_statistics_falls_and_images_come_out_the_same_again():
    program, start = classifier(), batch(8, 3, 10, 10)
    images, again = (distil(program, start, "v0", 20, 5)["v0"] for _ in range(2))
    with torch.no_grad():
        before, after = (
            float(statistics_mismatch(program, {"v0": each})) for each in (start["v0"], images)
        )
    assert after < 0.7 * before
    assert torch.equal(images, again)
    assert not images.requires_grad
    assert not torch.equal(images, distil(program, start, "v0", 20, 6)["v0"])  # other labels
    assert torch.equal(start["v0"], batch(8, 3, 10, 10)["v0"])


def test_images_are_drawn_towards_classes():
    program, start = classifier(lambda x: x.softmax(1)), batch(8, 3, 10, 10)
    labels = torch.randint(4, (8,), generator=torch.Generator().manual_seed(5))
    towards, elsewhere = (run(program, distil(program, start, "v0", 20, seed)) for seed in (5, 6))
    ours, others = (
        class_scores(outputs, 8)[torch.arange(8), labels].mean() for outputs in (towards, elsewhere)
    )
    assert ours > others


def test_without_normalisation_images_near_their_classes_and_keep_their_statistics():
    rng = RNG(1)
    resting = layer(rng, (6, 3, 3, 3))
    resting.weight[0], resting.bias[0] = 0, 0
    parts = ("a", resting), torch.relu, ("b", layer(rng, (8, 6, 3, 3))), lambda x: x.mean((2, 3))
    program, start = chained(*parts, ("head", layer(rng, (4, 8)))), batch(16, 3, 10, 10)
    labels = torch.randint(4, (16,), generator=torch.Generator().manual_seed(5))
    distilled = distil(program, start, "v0", 30, 5)
    before, after = (
        class_scores(run(program, each), 16)[torch.arange(16), labels].mean()
        for each in (start, distilled)
    )
    assert after > before + 0.1
    for site in ("v2", "v4"):
        old, new = (value_of(program, each, site) for each in (start, distilled))
        moved = (new.mean((0, *range(2, new.dim()))) - old.mean((0, *range(2, old.dim())))).abs()
        assert moved.max() < 0.2 * old.std()


def test_changes_are_coarse_for_classes_alone_and_fine_for_statistics():
    rng, start = RNG(1), batch(16, 3, 16, 16)
    parts = (
        ("a", layer(rng, (6, 3, 3, 3))),
        torch.relu,
        lambda x: x.mean((2, 3)),
        ("head", layer(rng, (4, 6))),
    )
    folded, stored = (
        distil(program, start, "v0", 20, 5)["v0"] - start["v0"]
        for program in (chained(*parts), classifier())
    )
    assert coarseness(folded) > 5 * coarseness(stored)


def coarseness(change):
    """The power of the lowest frequencies over that of the highest."""
    power = torch.fft.fft2(change).abs().square().mean((0, 1))
    return float(power[:3, :3].mean() / power[6:10, 6:10].mean())


@pytest.mark.parametrize("shape", [(8, 3), (8, 3, 1), (8, 3, 1, 9), (8, 3, 5, 6, 7)], ids=str)
def test_of_any_shape_vectors_and_axes_of_one_among_them(shape):
    program, start = chained(norm(RNG(1), 3), torch.relu), batch(*shape)
    distilled = distil(program, start, "v0", 10, 0)
    assert distilled["v0"].shape == shape
    assert distilled["v0"].isfinite().all()
    with torch.no_grad():
        assert statistics_mismatch(program, distilled) < statistics_mismatch(program, start)


def test_a_model_without_gradients_is_refused_with_what_torch_says():
    with pytest.raises(DistillingError, match="the model has no gradients"):
        distil(chained(lambda x: x.numpy() and x, norm(RNG(1), 3)), batch(4, 3, 5, 5), "v0", 2, 0)
    with pytest.raises(DistillingError, match=r"the model has no gradients: .*not require grad"):
        distil(chained(torch.Tensor.detach, norm(RNG(1), 3)), batch(4, 3), "v0", 2, 0)


def test_gradients_that_are_not_finite_are_refused():
    with pytest.raises(DistillingError, match="not finite"):
        distil(
            chained(lambda x: (x * 0).sqrt() + x, norm(RNG(1), 3)), batch(4, 3, 5, 5), "v0", 2, 0
        )
