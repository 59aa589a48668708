"""The error of a compressed model's outputs."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from support.engine.programs import chained, layer

from worker.engine.calibration.statistics.output_error import OutputError
from worker.engine.numerics.convolution import Layer

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


def test_the_error_is_the_differences_energy_over_the_outputs_variance():
    whole = layer(RNG(1), (4, 3), bias=False)
    inputs = batches(64, 3)
    y = inputs[0]["v0"].double() @ torch.from_numpy(whole.weight).double().T
    expected = 0.01 * y.square().sum() / (y - y.mean(0)).square().sum()
    error = OutputError(chained(("a", whole), image), inputs).of(
        {"a": scaled(whole, 0.1)}
    )
    assert error == pytest.approx(float(expected), rel=1e-4)
    assert OutputError(chained(("a", whole), image), inputs).of({}) == 0
    assert (
        OutputError(chained(("a", whole), image), inputs).of({"a": scaled(whole, 0)})
        == 0
    )


def test_each_output_that_varies_counts_alike_whatever_its_unit():
    whole = layer(RNG(1), (4, 3), bias=False)
    inputs = batches(64, 3)
    chains = {"a": scaled(whole, 0.1)}
    error = OutputError(chained(("a", whole), image), inputs).of(chains)
    program = chained(
        lambda x: 1000 * x, ("a", whole), image, lambda x: torch.full((64, 2), 7.0)
    )
    large, _, output, constant = (step.gives[0] for step in program.steps)
    several = replace(program, outputs=(large, output, constant))
    assert OutputError(several, inputs).of(chains) == pytest.approx(error / 2)


def test_an_output_that_is_zero_but_for_rounding_does_not_count():
    whole = layer(RNG(1), (4, 3), bias=False)
    program = chained(torch.tanh, ("a", whole), image, lambda x: 1e-9 * x)
    usual, _, _, rounding = (step.gives[0] for step in program.steps)
    several = replace(program, outputs=(usual, rounding))
    error = OutputError(several, batches(64, 3)).of({"a": scaled(whole, 0.1)})
    assert error == 0


def test_a_classifiers_error_is_that_of_its_log_probabilities():
    """Adding the same to all scores changes no probability."""
    whole = layer(RNG(1), (4, 3))
    shifted = Layer(whole.convolution, whole.weight, whole.bias + 5)
    program = chained(("a", whole))
    inputs = batches(64, 3)
    assert OutputError(program, inputs).of({"a": (shifted,)}) < 1e-9
    assert OutputError(chained(("a", whole), image), inputs).of({"a": (shifted,)}) > 1
    softmax = chained(("a", whole), lambda x: x.softmax(1))
    error = OutputError(softmax, inputs).of({"a": scaled(whole, 0.1)})
    of_scores = OutputError(program, inputs).of({"a": scaled(whole, 0.1)})
    assert error == pytest.approx(of_scores, rel=1e-3)


def test_all_is_lost_of_what_becomes_nan_and_nothing_compared_where_the_original_is():
    whole = layer(RNG(1), (4, 3), bias=False)
    inputs = batches(64, 3)
    broken = Layer(whole.convolution, np.full_like(whole.weight, np.nan), None)
    silent = Layer(whole.convolution, np.zeros_like(whole.weight), None)
    program = chained(("a", whole), image)
    output_error = OutputError(program, inputs)
    of_silent = output_error.of({"a": (silent,)})
    assert output_error.of({"a": (broken,)}) == of_silent
    assert of_silent > 0.9

    def break_second(x):
        return torch.stack([x[:, 0], x[:, 1] * torch.nan], 1)

    half = OutputError(chained(("a", whole), image, break_second), inputs)
    assert half.of({"a": scaled(whole, 0.1)}) == pytest.approx(0.01, rel=0.1)


@pytest.mark.parametrize(
    "depends",
    [lambda x: x[x > 0], lambda x: x.reshape(64 if x.isfinite().all() else 63, -1)],
)
def test_all_is_lost_where_outputs_change_their_shape_or_the_program_does_not_run(
    depends,
):
    whole = layer(RNG(1), (4, 3), bias=False)
    inputs = batches(64, 3)
    broken = Layer(whole.convolution, np.full_like(whole.weight, np.nan), None)
    assert (
        0.9
        < OutputError(chained(("a", whole), depends), inputs).of({"a": (broken,)})
        < 4
    )


@pytest.mark.parametrize(("held_bytes", "runs"), [(1 << 20, 1), (0, 5)])
def test_what_precedes_a_site_runs_once_for_all_trials_where_memory_allows(
    held_bytes, runs
):
    """Of two trials at each of two sites, the error is that of the whole run, bit for bit."""
    first, second = layer(RNG(1), (4, 4)), layer(RNG(2), (4, 4))
    before = []

    def slow(x):
        before.append(len(x))
        return x.tanh()

    program = chained(
        slow, ("a", first), torch.tanh, ("b", second), ("a", first), image
    )
    inputs = batches(16, 4) + batches(16, 4, seed=1)
    # the outputs, and what is held of one batch
    output_error = OutputError(program, inputs, held_bytes)
    assert len(before) == len(inputs) + 1
    before.clear()
    trials = [
        (position, {site: scaled(whole, share)})
        for position, site, whole in ((1, "a", first), (3, "b", second))
        for share in (0.1, 0.2)
    ]
    errors = [output_error.of_site(position, chains) for position, chains in trials]
    # behind the last step nothing changes
    assert output_error.of_site(len(program.steps), {}) == 0
    assert len(before) == runs * len(inputs)
    assert errors == [output_error.of(chains) for _, chains in trials]
    assert min(errors) > 0
