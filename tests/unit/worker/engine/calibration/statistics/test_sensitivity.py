"""How errors at sites arrive at the outputs, on networks for which that can be worked out."""

from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from support.engine.programs import chained, layer

from worker.engine.calibration.effort import DEFAULT_EFFORT
from worker.engine.calibration.statistics.output_error import OutputError
from worker.engine.calibration.statistics.sensitivity import Trial, sensitivities
from worker.engine.numerics.convolution import Layer
from worker.engine.program import Program, Step

RNG = np.random.default_rng


def batches(*shape, seed=0):
    return [
        {"v0": torch.from_numpy(RNG(seed).standard_normal(shape).astype(np.float32))}
    ]


def scaled(whole, share):
    return (Layer(whole.convolution, np.float32(1 + share) * whole.weight, whole.bias),)


def image(x):
    """Shape outputs as images are, so that they are not taken for a classifier's."""
    return x.reshape(len(x), 2, -1)


def calibration(program, inputs, sample_macs=1, smallest_batch=1):
    return SimpleNamespace(
        program=program,
        judged_program=program,
        held_out=inputs,
        sample_macs=sample_macs,
        batch=len(inputs[0]["v0"]),
        smallest_batch=smallest_batch,
        image_names=("v0",),
    )


def test_sensitivities_of_a_network_with_a_known_answer():
    """Scaling either of two branches that are added: each has its share of the output's energy.

    With outputs `9 u + u` of two equal branches, an error of `e` in the first is `(0.9)^2 e` of
    the output, and in the second `(0.1)^2 e`, which counts for no less than 3/4 of the median.
    """
    rng = RNG(1)
    big = layer(rng, (4, 3), bias=False)
    end = layer(rng, (4, 4), bias=False)
    small = Layer(big.convolution, big.weight / 9, None)
    first, last, shape = chained(("big", big), ("end", end), image).steps
    [aside] = chained(("small", small)).steps
    join = Step("Add", ("v1", "aside"), ("sum",), lambda a, b: (a + b,))
    steps = (
        first,
        replace(aside, gives=("aside",)),
        join,
        replace(last, takes=("sum",)),
        shape,
    )
    program = Program(("v0",), ("v3",), {}, steps)
    inputs = batches(512, 3)
    errors = {"big": 0.01, "small": 0.01, "end": 0.01}
    layers = {"big": big, "small": small, "end": end}
    trials = {
        name: [
            Trial(partial(scaled, layers[name], share), share**2)
            for share in (0.1, 0.2)
        ]
        for name in errors
    }
    tried = []
    shares = sensitivities(
        calibration(program, inputs), trials, layers.get, tell=tried.append
    )
    assert tried == pytest.approx([0, 1 / 3, 2 / 3])
    assert shares["end"] == pytest.approx(1, rel=0.05)
    assert shares["big"] == pytest.approx(0.81, rel=0.05)
    assert shares["small"] == pytest.approx(0.75 * 0.81, rel=0.05)


def test_deep_models_are_tried_once_a_site_and_on_fewer_images():
    """The second trial errs more at the outputs than the first; the silent images show no error."""
    whole = layer(RNG(1), (4, 3), bias=False)
    program = chained(("a", whole), image)
    inputs = batches(8, 3)
    inputs[0]["v0"][4:] = 0
    first, second = (Trial(partial(scaled, whole, share), 0.01) for share in (0.1, 0.4))

    def share_of(sample_macs, smallest_batch=1):
        measured = calibration(program, inputs, sample_macs, smallest_batch)
        return sensitivities(measured, {"a": [first, second]}, {"a": whole}.get, effort)

    effort = replace(DEFAULT_EFFORT, sensitivity_macs=16)
    both = share_of(sample_macs=1)["a"]
    last = share_of(sample_macs=2)["a"]
    assert both == pytest.approx(4, rel=0.5)
    assert last == pytest.approx(16, rel=0.5)
    # four of eight images: those that are not silent
    assert share_of(sample_macs=4)["a"] == pytest.approx(16, rel=0.5)
    assert share_of(sample_macs=4, smallest_batch=8) == {}


def test_nothing_is_measured_where_one_image_would_take_too_much_work():
    whole = layer(RNG(1), (4, 3))
    trials = {"a": [Trial(partial(scaled, whole, 0.1), 0.01)]}
    assert (
        sensitivities(
            calibration(chained(("a", whole)), batches(8, 3), sample_macs=10**12),
            trials,
            {"a": whole}.get,
        )
        == {}
    )
    assert (
        sensitivities(
            calibration(chained(("a", whole)), batches(8, 3)),
            {"a": []},
            {"a": whole}.get,
        )
        == {}
    )


def test_the_inputs_are_taken_from_all_that_are_held_out():
    """The error of a layer that is scaled, where the last inputs alone are not zero."""
    whole = layer(RNG(1), (4, 3), bias=False)
    silent, [loud] = [{"v0": torch.zeros(8, 3)} for _ in range(9)], batches(8, 3)
    trials = {"a": [Trial(partial(scaled, whole, 0.1), 0.01)]}
    shares = sensitivities(
        calibration(chained(("a", whole), image), [*silent, loud]),
        trials,
        {"a": whole}.get,
    )
    assert shares["a"] == pytest.approx(1, rel=0.5)


def test_a_classifiers_last_layer_counts_for_more_where_its_trials_lose_unseen_classes():
    last = layer(RNG(2), (6, 5))
    inputs = batches(64, 5)
    inputs[0]["v0"][:, 4] /= 10
    weight = last.weight.copy()
    weight[:, 4] = 0
    blind = Layer(last.convolution, weight, last.bias)
    trials = {"last": [Trial(lambda: (blind,), 0.01)]}
    scores, maps = (chained(("last", last), *then) for then in ((), (image,)))
    of_scores, of_maps = (
        sensitivities(calibration(program, inputs), trials, {"last": last}.get)["last"]
        for program in (scores, maps)
    )
    alone = OutputError(scores, inputs).of({"last": (blind,)}) / 0.01
    assert of_scores > 5 * alone
    assert of_maps == pytest.approx(
        OutputError(maps, inputs).of({"last": (blind,)}) / 0.01
    )
