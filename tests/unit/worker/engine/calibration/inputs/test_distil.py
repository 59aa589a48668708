"""Distilled images: nearer to stored statistics, deterministic, refused without gradients."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from support.engine.programs import chained, layer, norm

from worker.engine.calibration.class_scores import class_scores
from worker.engine.calibration.inputs.distil import (
    DistillingError,
    distil,
    statistics_mismatch,
)
from worker.engine.program import run

RNG = np.random.default_rng


def pooled(x):
    return x.mean((2, 3))


def classifier(*behind):
    rng = RNG(1)
    a = layer(rng, (6, 3, 3, 3))
    batch_norm = norm(rng, 6)
    head = layer(rng, (4, 6))
    return chained(("a", a), batch_norm, torch.relu, pooled, ("head", head), *behind)


def batch(*shape):
    return {"v0": torch.from_numpy(RNG(0).standard_normal(shape).astype(np.float32))}


def value_of(program, inputs, name):
    return run(replace(program, outputs=(name,)), inputs)[0]


def test_the_mismatch_of_statistics_falls_and_images_come_out_the_same_again():
    program = classifier()
    start = batch(8, 3, 10, 10)
    images, again = (distil(program, start, "v0", 20, 5)["v0"] for _ in range(2))
    with torch.no_grad():
        before = float(statistics_mismatch(program, start))
        after = float(statistics_mismatch(program, {"v0": images}))
    assert after < 0.7 * before
    assert torch.equal(images, again)
    assert not images.requires_grad
    with_other_labels = distil(program, start, "v0", 20, 6)["v0"]
    assert not torch.equal(images, with_other_labels)
    assert torch.equal(start["v0"], batch(8, 3, 10, 10)["v0"])


def score_of_labels(program, inputs):
    """The mean score of the classes that the seed 5 draws."""
    count = len(inputs["v0"])
    labels = torch.randint(4, (count,), generator=torch.Generator().manual_seed(5))
    scores = class_scores(run(program, inputs), count)
    return scores[torch.arange(count), labels].mean()


def test_images_are_drawn_towards_classes():
    program = classifier(lambda x: x.softmax(1))
    start = batch(8, 3, 10, 10)
    towards = distil(program, start, "v0", 20, 5)
    elsewhere = distil(program, start, "v0", 20, 6)
    assert score_of_labels(program, towards) > score_of_labels(program, elsewhere)


def test_without_normalisation_images_near_their_classes_and_keep_their_statistics():
    rng = RNG(1)
    resting = layer(rng, (6, 3, 3, 3))
    resting.weight[0] = 0
    resting.bias[0] = 0
    b = layer(rng, (8, 6, 3, 3))
    head = layer(rng, (4, 8))
    program = chained(("a", resting), torch.relu, ("b", b), pooled, ("head", head))
    start = batch(16, 3, 10, 10)
    distilled = distil(program, start, "v0", 30, 5)
    assert score_of_labels(program, distilled) > score_of_labels(program, start) + 0.1
    for site in ("v2", "v4"):
        old = value_of(program, start, site)
        new = value_of(program, distilled, site)
        moved = (channel_means(new) - channel_means(old)).abs()
        assert moved.max() < 0.2 * old.std()


def channel_means(x):
    return x.mean((0, *range(2, x.dim())))


def test_changes_are_coarse_for_classes_alone_and_fine_for_statistics():
    rng = RNG(1)
    start = batch(16, 3, 16, 16)
    a = layer(rng, (6, 3, 3, 3))
    head = layer(rng, (4, 6))
    folded = chained(("a", a), torch.relu, pooled, ("head", head))
    by_classes = distil(folded, start, "v0", 20, 5)["v0"] - start["v0"]
    by_statistics = distil(classifier(), start, "v0", 20, 5)["v0"] - start["v0"]
    assert coarseness(by_classes) > 5 * coarseness(by_statistics)


def coarseness(change):
    """The power of the lowest frequencies over that of the highest."""
    power = torch.fft.fft2(change).abs().square().mean((0, 1))
    return float(power[:3, :3].mean() / power[6:10, 6:10].mean())


@pytest.mark.parametrize(
    "shape", [(8, 3), (8, 3, 1), (8, 3, 1, 9), (8, 3, 5, 6, 7)], ids=str
)
def test_of_any_shape_vectors_and_axes_of_one_among_them(shape):
    program = chained(norm(RNG(1), 3), torch.relu)
    start = batch(*shape)
    distilled = distil(program, start, "v0", 10, 0)
    assert distilled["v0"].shape == shape
    assert distilled["v0"].isfinite().all()
    with torch.no_grad():
        assert statistics_mismatch(program, distilled) < statistics_mismatch(
            program, start
        )


def test_a_model_without_gradients_is_refused_with_what_torch_says():
    through_numpy = chained(lambda x: x.numpy() and x, norm(RNG(1), 3))
    with pytest.raises(DistillingError, match="the model has no gradients"):
        distil(through_numpy, batch(4, 3, 5, 5), "v0", 2, 0)
    detached = chained(torch.Tensor.detach, norm(RNG(1), 3))
    with pytest.raises(
        DistillingError, match=r"the model has no gradients: .*not require grad"
    ):
        distil(detached, batch(4, 3), "v0", 2, 0)


def test_gradients_that_are_not_finite_are_refused():
    steep_at_zero = chained(lambda x: (x * 0).sqrt() + x, norm(RNG(1), 3))
    with pytest.raises(DistillingError, match="not finite"):
        distil(steep_at_zero, batch(4, 3, 5, 5), "v0", 2, 0)
