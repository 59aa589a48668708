"""The sequential refit against numpy's least squares, and its effect on the outputs."""

import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
from support.engine.factored import fit_exactly, low_rank, narrow, rough
from support.engine.programs import chained, layer

from worker.engine.calibration.chains import run_chain
from worker.engine.calibration.effort import DEFAULT_EFFORT, Effort
from worker.engine.calibration.refit import refit as refit_module
from worker.engine.calibration.refit.refit import refit, refits
from worker.engine.calibration.replay import CheckpointedRun, spread
from worker.engine.calibration.statistics.output_error import OutputError
from worker.engine.program import Program, Step

RNG = np.random.default_rng


@pytest.fixture(autouse=True)
def exact(monkeypatch):
    fit_exactly(monkeypatch)


def batches(*shape, seed=0, offset=0.0):
    x = torch.from_numpy(RNG(seed).standard_normal(shape).astype(np.float32)) + offset
    return [{"v0": part} for part in x.split(4)]


@pytest.mark.parametrize("held_bytes", [1 << 28, 0], ids=["all held", "nothing held"])
@pytest.mark.parametrize("shape", [(6, 5, 1, 1), (6, 5)], ids=["convolution", "linear"])
def test_the_last_layers_are_numpys_least_squares_from_the_compressed_inputs(
    shape, held_bytes
):
    """Site b is fitted behind a's refitted layers, to its outputs behind the original a."""
    rng = RNG(1)
    a = layer(rng, shape)
    b = layer(rng, (4, 6, *shape[2:]))
    program = chained(("a", a), torch.relu, ("b", b))
    inputs = batches(16, 5, 7, 7) if shape[2:] else batches(16, 40, 5)
    chains = {"a": narrow(a, 3), "b": narrow(b, 4)}
    fitted = refit(program, inputs, chains, {}, Effort(held_bytes=held_bytes))

    x = torch.cat([batch["v0"] for batch in inputs])
    with torch.no_grad():
        hidden = run_chain([a], x)
        targets = {"a": hidden, "b": run_chain([b], hidden.relu())}
        seen = {"a": x, "b": run_chain(fitted["a"], x).relu()}
    for site in "ab":
        first, last = fitted[site]
        assert first is chains[site][0]
        data = by_row(run_chain([first], seen[site]), shape)
        target = by_row(targets[site], shape)
        n = len(last.weight)
        present = chains[site][1].weight.reshape(n, -1)
        expected = numpys_fit(data, target, present)
        solution = np.column_stack([last.weight.reshape(n, -1), last.bias])
        np.testing.assert_allclose(solution, expected, rtol=1e-4, atol=3e-4)


def test_sites_with_an_origin_become_the_best_of_their_rank_from_the_compressed_inputs():
    """Reduced-rank regression by numpy: least squares, then its outputs' leading directions."""
    rng = RNG(1)
    rank = 3
    a = layer(rng, (6, 5, 1, 1))
    b = layer(rng, (7, 6, 1, 1))
    program = chained(("a", a), torch.tanh, ("b", b))
    inputs = batches(16, 5, 7, 7)
    chains = {"a": narrow(a, rank), "b": narrow(b, rank)}
    origins = {"a": low_rank(a, rank), "b": low_rank(b, rank)}
    fitted = refit(program, inputs, chains, origins, DEFAULT_EFFORT)
    x = torch.cat([batch["v0"] for batch in inputs])
    with torch.no_grad():
        targets = run_chain([b], run_chain([a], x).tanh())
        seen = run_chain(fitted["a"], x).tanh()
        actual = run_chain(fitted["b"], seen)
    target = by_row(targets, (1, 1, 1, 1))
    data = by_row(seen, (1, 1, 1, 1))
    outputs = by_row(actual, (1, 1, 1, 1))
    target = target - target.mean(0)
    data = data - data.mean(0)
    predicted = data @ np.linalg.lstsq(data, target, rcond=None)[0]
    directions = np.linalg.svd(predicted, full_matrices=False)[2][:rank]
    best = predicted @ directions.T @ directions
    least = np.square(target - best).sum()
    mean = outputs.mean(0)
    error = np.square(target - (outputs - mean)).sum()
    assert least * (1 - 1e-6) < error < least * 1.01
    np.testing.assert_allclose(mean, by_row(targets, (1, 1, 1, 1)).mean(0), atol=1e-4)


@pytest.mark.parametrize(("fits", "used"), [(8, 8), (6, 6), (4, 8)])
def test_images_are_left_out_where_every_layer_would_run_again_for_every_site(
    fits, used
):
    """Of eight batches, six that fit are enough; were there but four, all are run again."""
    rng = RNG(1)
    seen = []
    layers = [(name, layer(rng, (5, 5, 1, 1))) for name in "abcdef"]
    program = chained(*layers)
    inputs = batches(32, 5, 9, 9)
    first, *others = program.steps

    def run_and_record(x):
        seen.append(float(x.sum()))
        return first.run(x)

    bytes_of_one = inputs[0]["v0"].numel() * 4
    effort = Effort(held_bytes=2 * fits * bytes_of_one)
    recorded = replace(program, steps=(replace(first, run=run_and_record), *others))
    chains = {name: (rough(whole),) for name, whole in layers}
    refit(recorded, inputs, chains, {}, effort)
    assert set(seen) == {float(batch["v0"].sum()) for batch in spread(inputs, used)}


@pytest.mark.parametrize("is_whole", [False, True], ids=["last layer", "whole site"])
def test_gain_is_restored_from_the_fits_outputs_and_its_targets(monkeypatch, is_whole):
    seen = []

    def doubled(whole, outputs, targets):
        seen.append([torch.cat(list(part)).flatten(1) for part in (outputs, targets)])
        return replace(whole, weight=2 * whole.weight)

    a = layer(RNG(1), (6, 5, 1, 1))
    b = layer(RNG(2), (6, 6, 1, 1))
    inputs = batches(16, 5, 7, 7)
    chains = {"a": narrow(a, 3)}
    origins = {"a": low_rank(a, 3)} if is_whole else {}
    program = chained(("a", a), torch.tanh, ("b", b))
    plain = refit(program, inputs, chains, origins, DEFAULT_EFFORT)["a"]
    monkeypatch.setattr(refit_module, "restore_gain", doubled)
    changed = refit(program, inputs, chains, origins, DEFAULT_EFFORT)["a"]
    np.testing.assert_array_equal(changed[1].weight, 2 * plain[1].weight)
    x = torch.cat([batch["v0"] for batch in inputs])
    with torch.no_grad():
        outputs = (run_chain(plain, x), run_chain([a], x))
        for actual, expected in zip(seen[0], outputs, strict=True):
            by_position = expected.movedim(1, -1).flatten(0, 2)
            torch.testing.assert_close(actual, by_position, atol=1e-5, rtol=1e-4)


def test_the_gain_of_the_models_own_outputs_stays(monkeypatch):
    """Two of three sites end in outputs: one by itself, one added to the first site's output."""
    a = layer(RNG(0), (5, 5, 1, 1))
    b = layer(RNG(1), (5, 5, 1, 1))
    c = layer(RNG(2), (5, 5, 1, 1))
    steps = chained(("a", a), ("b", b), ("c", c)).steps
    first = replace(steps[0], takes=("v0",), gives=("x",))
    second = replace(steps[1], takes=("x",), gives=("y",))
    third = replace(steps[2], takes=("x",), gives=("z",))
    added = Step("Add", ("x", "y"), ("sum",), lambda x, y: (x + y,))
    program = Program(("v0",), ("sum", "z"), {}, (first, second, added, third))
    corrected = []

    def record(whole, *_):
        corrected.append(whole)
        return whole

    monkeypatch.setattr(refit_module, "restore_gain", record)
    chains = {"a": (rough(a),), "b": (rough(b),), "c": (rough(c),)}
    fitted = refit(program, batches(16, 5, 7, 7), chains, {}, DEFAULT_EFFORT)
    assert corrected == [fitted["a"][-1]]


def test_of_wide_patches_the_last_layer_alone_is_fitted():
    a = layer(RNG(1), (6, 5, 1, 1))
    inputs = batches(16, 5, 7, 7)
    chains = {"a": narrow(a, 3)}
    effort = Effort(widest_refactored=4)
    program = chained(("a", a))
    together = refit(program, inputs, chains, {"a": low_rank(a, 3)}, effort)
    alone = refit(program, inputs, chains, {}, effort)
    assert together["a"][0] is chains["a"][0]
    np.testing.assert_array_equal(together["a"][1].weight, alone["a"][1].weight)


@pytest.mark.parametrize(("held_bytes", "runs"), [(1 << 28, 1), (2_000, 2)])
def test_two_refits_are_those_alone_and_share_the_original_where_its_values_fit(
    held_bytes, runs
):
    a, b = layer(RNG(1), (6, 5, 1, 1)), layer(RNG(2), (4, 6, 1, 1))
    program = chained(("a", a), torch.relu, ("b", b))
    inputs = batches(16, 5, 7, 7)
    seen = []
    last = program.steps[-1]

    def run_and_record(x):
        seen.append(x)
        return last.run(x)

    recorded = replace(
        program, steps=(*program.steps[:-1], replace(last, run=run_and_record))
    )
    chains = {"a": narrow(a, 3), "b": narrow(b, 2)}
    origins = {"a": low_rank(a, 3), "b": low_rank(b, 2)}
    effort = Effort(held_bytes=held_bytes)
    both = refits(recorded, inputs, chains, [origins, {}], effort)
    # the footprints are measured on one batch, and the original runs on each
    assert len(seen) == 1 + runs * len(inputs)
    alone = [
        refit(program, inputs, chains, variant, effort) for variant in (origins, {})
    ]
    for fitted, expected in zip(both, alone, strict=True):
        for name in "ab":
            for mine, own in zip(fitted[name], expected[name], strict=True):
                np.testing.assert_array_equal(mine.weight, own.weight)
                np.testing.assert_array_equal(mine.bias, own.bias)


def numpys_fit(data, target, present):
    """Weights and, in the last column, biases, with a ridge of a thousandth of the variance."""
    width = data.shape[1]
    pull = np.sqrt(1e-3 * data.var(0).mean() * len(data))
    measured = [data, np.ones((len(data), 1))]
    ridge = [pull * np.eye(width), np.zeros((width, 1))]
    aims = np.concatenate([target, pull * present.T])
    return np.linalg.lstsq(np.block([measured, ridge]), aims, rcond=None)[0].T


def by_row(values, shape):
    channels_last = values.movedim(1, -1) if shape[2:] else values
    return channels_last.reshape(-1, channels_last.shape[-1]).double().numpy()


def test_the_error_on_the_calibration_inputs_falls():
    rng = RNG(1)
    sites = {name: layer(rng, (8, 8, 3, 3), padding=1) for name in "abc"}
    parts = [
        part for name, whole in sites.items() for part in ((name, whole), torch.relu)
    ]
    program = chained(*parts[:-1])
    inputs = batches(8, 8, 8, 8)
    chains = {name: (rough(whole),) for name, whole in sites.items()}
    fitted = refit(program, inputs, chains, {}, DEFAULT_EFFORT)
    output_error = OutputError(program, inputs)
    assert output_error.of(fitted) < 0.2 * output_error.of(chains)


def test_a_site_called_twice_is_fitted_once_and_used_twice():
    a = layer(RNG(1), (4, 4, 1, 1))
    program = chained(("a", a), torch.tanh, ("a", a))
    inputs = batches(8, 4, 6, 6)
    twice = refit(program, inputs, {"a": narrow(a, 3)}, {}, DEFAULT_EFFORT)
    once = refit(chained(("a", a)), inputs, {"a": narrow(a, 3)}, {}, DEFAULT_EFFORT)
    np.testing.assert_array_equal(twice["a"][1].weight, once["a"][1].weight)


def test_a_site_whose_values_are_not_finite_stays_as_it_is():
    rng = RNG(1)
    a = layer(rng, (3, 3, 1, 1))
    b = layer(rng, (3, 3, 1, 1))
    chains = {"a": (rough(a),), "b": (rough(b),)}
    program = chained(("a", a), torch.log, ("b", b))
    fitted = refit(program, batches(4, 3, 5, 5), chains, {}, DEFAULT_EFFORT)
    assert fitted["b"][0] is chains["b"][0]
    np.testing.assert_allclose(fitted["a"][0].weight, a.weight, atol=1e-2)


def test_variants_hold_the_originals_values_at_one_site_at_a_time(monkeypatch):
    """Those of the site before would take memory that no bound counts."""
    layers = {name: layer(RNG(at), (6, 6)) for at, name in enumerate("abcd")}
    chains = {name: (rough(each),) for name, each in layers.items()}
    seen: list[tuple[int, weakref.ref[torch.Tensor]]] = []
    alive: list[int] = []
    of_original = CheckpointedRun.inputs_and_outputs_of

    def spy(run, position, steps):
        for inputs, outputs in of_original(run, position, steps):
            # the inputs of the model stay
            alive.extend(
                at for at, each in seen if 0 < at < position and each() is not None
            )
            seen.append((position, weakref.ref(inputs[0])))
            yield inputs, outputs

    monkeypatch.setattr(CheckpointedRun, "inputs_and_outputs_of", spy)
    refits(chained(*layers.items()), batches(8, 6), chains, [{}, {}], DEFAULT_EFFORT)
    assert {at for at, _ in seen} == {0, 1, 2, 3}
    assert not alive
