"""How errors at sites arrive at the outputs, on networks for which that can be worked out."""

from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from support.programs import chained, layer

from worker.engine.calibration.statistics.output_error import Judge
from worker.engine.calibration.statistics.sensitivity import Trial, sensitivities
from worker.engine.numerics.convolution import Layer
from worker.engine.program import Program, Step

RNG = np.random.default_rng


def batches(*shape, seed=0):
    return [{"v0": torch.from_numpy(RNG(seed).standard_normal(shape).astype(np.float32))}]


def scaled(made, share):
    return (Layer(made.convolution, np.float32(1 + share) * made.weight, made.bias),)


def image(x):
    """Shape outputs as images are, so that they are not taken for a classifier's."""
    return x.reshape(len(x), 2, -1)


def calibration(program, inputs, sample_macs=1):
    return SimpleNamespace(
        program=program, held_out=inputs, sample_macs=sample_macs, batch=len(inputs[0]["v0"])
    )


def test_the_error_is_the_differences_energy_over_the_outputs_variance():
    made = layer(RNG(1), (4, 3), bias=False)
    inputs = batches(64, 3)
    y = inputs[0]["v0"].double() @ torch.from_numpy(made.weight).double().T
    expected = 0.01 * y.square().sum() / (y - y.mean(0)).square().sum()
    found = Judge(chained(("a", made), image), inputs).error({"a": scaled(made, 0.1)})
    assert found == pytest.approx(float(expected), rel=1e-4)
    assert Judge(chained(("a", made), image), inputs).error({}) == 0
    assert Judge(chained(("a", made), image), inputs).error({"a": scaled(made, 0)}) == 0


def test_a_classifiers_error_is_that_of_its_log_probabilities():
    """Adding the same to all scores changes no probability."""
    made = layer(RNG(1), (4, 3))
    shifted = Layer(made.convolution, made.weight, made.bias + 5)
    program, inputs = chained(("a", made)), batches(64, 3)
    assert Judge(program, inputs).error({"a": (shifted,)}) < 1e-9
    assert Judge(chained(("a", made), image), inputs).error({"a": (shifted,)}) > 1
    softmax = chained(("a", made), lambda x: x.softmax(1))
    found, of_scores = (
        Judge(each, inputs).error({"a": scaled(made, 0.1)}) for each in (softmax, program)
    )
    assert found == pytest.approx(of_scores, rel=1e-3)


def test_all_is_lost_of_what_becomes_nan_and_nothing_compared_where_the_original_is():
    made = layer(RNG(1), (4, 3), bias=False)
    inputs = batches(64, 3)
    broken = Layer(made.convolution, np.full_like(made.weight, np.nan), None)
    silent = Layer(made.convolution, np.zeros_like(made.weight), None)
    program = chained(("a", made), image)
    assert (
        Judge(program, inputs).error({"a": (broken,)})
        == Judge(program, inputs).error({"a": (silent,)})
        > 0.9
    )
    half = chained(("a", made), image, lambda x: torch.stack([x[:, 0], x[:, 1] * torch.nan], 1))
    assert Judge(half, inputs).error({"a": scaled(made, 0.1)}) == pytest.approx(0.01, rel=0.1)


@pytest.mark.parametrize(
    "depends", [lambda x: x[x > 0], lambda x: x.reshape(64 if x.isfinite().all() else 63, -1)]
)
def test_all_is_lost_where_outputs_change_their_shape_or_the_program_does_not_run(depends):
    made = layer(RNG(1), (4, 3), bias=False)
    inputs = batches(64, 3)
    broken = Layer(made.convolution, np.full_like(made.weight, np.nan), None)
    assert 0.9 < Judge(chained(("a", made), depends), inputs).error({"a": (broken,)}) < 4


def test_sensitivities_of_a_network_with_a_known_answer():
    """Scaling either of two branches that are added: a fraction of the output's energy is each one's own.

    With outputs `9 u + u` of two equal branches, an error of `e` in the first is `(0.9)^2 e` of the output, and in the
    second `(0.1)^2 e`, which counts for no less than 3/4 of the median.
    """
    rng = RNG(1)
    big = layer(rng, (4, 3), bias=False)
    end = layer(rng, (4, 4), bias=False)
    small = Layer(big.convolution, big.weight / 9, None)
    first, last, shape = chained(("big", big), ("end", end), image).steps
    [aside] = chained(("small", small)).steps
    join = Step("Add", ("v1", "aside"), ("sum",), lambda a, b: (a + b,))
    steps = first, replace(aside, gives=("aside",)), join, replace(last, takes=("sum",)), shape
    program = Program(("v0",), ("v3",), {}, steps)
    inputs = batches(512, 3)
    errors = {"big": 0.01, "small": 0.01, "end": 0.01}
    layers = {"big": big, "small": small, "end": end}
    tried = {
        name: [Trial(partial(scaled, layers[name], share), share**2) for share in (0.1, 0.2)]
        for name in errors
    }
    found = sensitivities(calibration(program, inputs), tried, layers.get)
    assert found["end"] == pytest.approx(1, rel=0.05)
    assert found["big"] == pytest.approx(0.81, rel=0.05)
    assert found["small"] == pytest.approx(0.75 * 0.81, rel=0.05)


def test_nothing_is_measured_where_one_batch_would_take_too_much_work():
    made = layer(RNG(1), (4, 3))
    tried = {"a": [Trial(partial(scaled, made, 0.1), 0.01)]}
    assert (
        sensitivities(
            calibration(chained(("a", made)), batches(8, 3), sample_macs=10**11),
            tried,
            {"a": made}.get,
        )
        == {}
    )
    assert (
        sensitivities(calibration(chained(("a", made)), batches(8, 3)), {"a": []}, {"a": made}.get)
        == {}
    )


def test_the_inputs_are_taken_from_all_that_are_held_out():
    """The error of a layer that is scaled, where the last inputs alone are not zero."""
    made = layer(RNG(1), (4, 3), bias=False)
    silent, [loud] = [{"v0": torch.zeros(8, 3)} for _ in range(9)], batches(8, 3)
    tried = {"a": [Trial(partial(scaled, made, 0.1), 0.01)]}
    found = sensitivities(
        calibration(chained(("a", made), image), [*silent, loud]), tried, {"a": made}.get
    )
    assert found["a"] == pytest.approx(1, rel=0.5)


def test_a_classifiers_last_layer_counts_for_more_where_its_trials_lose_classes_that_no_input_shows():
    last, inputs = layer(RNG(2), (6, 5)), batches(64, 5)
    inputs[0]["v0"][:, 4] /= 10
    weight = last.weight.copy()
    weight[:, 4] = 0
    blind = Layer(last.convolution, weight, last.bias)
    tried = {"last": [Trial(lambda: (blind,), 0.01)]}
    scores, maps = (chained(("last", last), *then) for then in ((), (image,)))
    of_scores, of_maps = (
        sensitivities(calibration(program, inputs), tried, {"last": last}.get)["last"]
        for program in (scores, maps)
    )
    alone = Judge(scores, inputs).error({"last": (blind,)}) / 0.01
    assert of_scores > 5 * alone
    assert of_maps == pytest.approx(Judge(maps, inputs).error({"last": (blind,)}) / 0.01)
