"""The sequential refit against numpy's least squares, and what it does for the outputs."""

from dataclasses import replace
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from support.programs import chained, layer

from worker.engine.calibration.refit import refit as refitting
from worker.engine.calibration.refit import select_refit as refining
from worker.engine.calibration.refit.refit import Origin, chain, composed, refit
from worker.engine.calibration.refit.select_refit import refine
from worker.engine.calibration.replay import spread
from worker.engine.calibration.statistics import covariance as observing
from worker.engine.calibration.statistics.covariance import Observation
from worker.engine.calibration.statistics.output_error import Judge
from worker.engine.decompose import FORMS, Target
from worker.engine.numerics.convolution import Layer
from worker.engine.numerics.moments import unknown
from worker.engine.program import Program, Step, StepError

RNG = np.random.default_rng


@pytest.fixture(autouse=True)
def exact(monkeypatch):
    """What is fitted is checked before it is shrunk or compensated; `test_shrink` and `test_attenuation` have that."""
    for module in (observing, refitting):
        monkeypatch.setattr(module, "shrinkage", lambda square, *_: torch.zeros(len(square)))
    monkeypatch.setattr(refitting, "compensated", lambda made, *_: made)


MANY = 1 << 30


def batches(*shape, seed=0, offset=0.0):
    x = torch.from_numpy(RNG(seed).standard_normal(shape).astype(np.float32)) + offset
    return [{"v0": part} for part in x.split(4)]


def rough(made, amount=0.3, seed=9):
    """The layer with errors in its weights, as a factorisation makes."""
    noise = amount * made.weight.std() * RNG(seed).standard_normal(made.weight.shape)
    return Layer(made.convolution, made.weight + noise.astype(np.float32), made.bias)


def narrow(made, rank, seed=9):
    """Two layers in a 1x1 convolution's or a linear layer's place, the first of them a random one."""
    n, c, *ones = made.weight.shape
    rng = RNG(seed)
    return layer(rng, (rank, c, *ones), bias=False), layer(rng, (n, rank, *ones), bias=False)


@pytest.mark.parametrize("most_bytes", [MANY, 0], ids=["all held", "nothing held"])
@pytest.mark.parametrize("shape", [(6, 5, 1, 1), (6, 5)], ids=["convolution", "linear"])
def test_the_last_layers_are_numpys_least_squares_from_what_the_compressed_prefix_gives(
    shape, most_bytes
):
    """Site b is fitted behind a's refitted layers, to the outputs that it has behind the original a."""
    rng = RNG(1)
    a, b = layer(rng, shape), layer(rng, (4, 6, *shape[2:]))
    program = chained(("a", a), torch.relu, ("b", b))
    inputs = batches(16, 5, 7, 7) if shape[2:] else batches(16, 40, 5)
    chains = {"a": narrow(a, 3), "b": narrow(b, 4)}
    fitted = refit(program, inputs, chains, {}, most_bytes)

    x = torch.cat([batch["v0"] for batch in inputs])
    with torch.no_grad():
        hidden = chain([a], x)
        wanted = {"a": hidden, "b": chain([b], hidden.relu())}
        seen = {"a": x, "b": chain(fitted["a"], x).relu()}
    for site in "ab":
        first, last = fitted[site]
        assert first is chains[site][0]
        data, target = (
            by_row(value, shape) for value in (chain([first], seen[site]), wanted[site])
        )
        expected = least_squares(data, target, chains[site][1].weight.reshape(len(last.weight), -1))
        found = np.column_stack([last.weight.reshape(len(last.weight), -1), last.bias])
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_sites_with_an_origin_become_the_best_of_their_rank_from_what_the_compressed_prefix_gives():
    """Reduced-rank regression, by numpy: the least-squares solution, then the leading directions of what it gives."""
    rng, rank = RNG(1), 3
    a, b = layer(rng, (6, 5, 1, 1)), layer(rng, (7, 6, 1, 1))
    program, inputs = chained(("a", a), torch.tanh, ("b", b)), batches(16, 5, 7, 7)
    chains = {"a": narrow(a, rank), "b": narrow(b, rank)}
    fitted = refit(program, inputs, chains, {"a": low_rank(a, rank), "b": low_rank(b, rank)}, MANY)
    x = torch.cat([batch["v0"] for batch in inputs])
    with torch.no_grad():
        wanted, seen = chain([b], chain([a], x).tanh()), chain(fitted["a"], x).tanh()
        found = chain(fitted["b"], seen)
    target, data, given = (by_row(value, (1, 1, 1, 1)) for value in (wanted, seen, found))
    target, data = target - target.mean(0), data - data.mean(0)
    predicted = data @ np.linalg.lstsq(data, target, rcond=None)[0]
    directions = np.linalg.svd(predicted, full_matrices=False)[2][:rank]
    least = ((target - predicted @ directions.T @ directions) ** 2).sum()
    error = ((target - (given - given.mean(0))) ** 2).sum()
    assert least * (1 - 1e-6) < error < least * 1.01
    np.testing.assert_allclose(given.mean(0), by_row(wanted, (1, 1, 1, 1)).mean(0), atol=1e-4)


@pytest.mark.parametrize(("fits", "used"), [(8, 8), (6, 6), (4, 8)])
def test_images_are_left_out_where_every_layer_would_run_again_for_every_site(fits, used):
    """Of eight batches, six that fit are enough; were there but four, all are run again."""
    rng, seen = RNG(1), []
    layers = [(name, layer(rng, (5, 5, 1, 1))) for name in "abcdef"]
    program, inputs = chained(*layers), batches(32, 5, 9, 9)
    each = inputs[0]["v0"].numel() * 4
    steps = [
        replace(
            program.steps[0],
            run=lambda x: (seen.append(float(x.sum())), program.steps[0].run(x))[1],
        )
    ]
    counted = replace(program, steps=(*steps, *program.steps[1:]))
    refit(counted, inputs, {name: (rough(made),) for name, made in layers}, {}, 2 * fits * each)
    assert set(seen) == {float(batch["v0"].sum()) for batch in spread(inputs, used)}


def geometries():
    """Geometries of any number of axes, with strides, paddings, dilations and groups, and the forms that apply."""
    shapes = [
        *product([(8, 6, 3, 3), (8, 6, 1, 1), (8, 6, 5), (8, 6, 2, 3, 3)], [1, 2]),
        ((8, 6), 1),
    ]
    for (n, c, *kernel), groups in shapes:
        plain = layer(RNG(1), (n, c // groups, *kernel), padding=1, stride=2, groups=groups)
        whole = replace(plain, convolution=replace(plain.convolution, dilation=(2,) * len(kernel)))
        yield from (
            (form, whole) for form in FORMS if FORMS[form].why_not(whole.convolution) is None
        )


@pytest.mark.parametrize(("form", "whole"), [*geometries()])
def test_layers_that_stand_for_one_are_composed_to_one(form, whole):
    geometry = whole.convolution
    size = (7,) * len(geometry.kernel)
    x = torch.from_numpy(
        RNG(2).standard_normal((3, geometry.in_channels, *size)).astype(np.float32)
    )
    for made in FORMS[form].factorisations(geometry):
        layers = made.layers(Target.of(whole, unknown(geometry)), made.ranks[len(made.ranks) // 2])
        with torch.no_grad():
            torch.testing.assert_close(chain([composed(layers, geometry)], x), chain(layers, x))


@pytest.mark.parametrize("is_whole", [False, True], ids=["last layer", "whole site"])
def test_what_a_fit_gives_is_compensated_beside_what_was_wanted(monkeypatch, is_whole):
    seen = []

    def doubled(made, given, wanted):
        seen.append([torch.cat(list(part)).flatten(1) for part in (given, wanted)])
        return replace(made, weight=2 * made.weight)

    a, b, inputs = layer(RNG(1), (6, 5, 1, 1)), layer(RNG(2), (6, 6, 1, 1)), batches(16, 5, 7, 7)
    chains, origins = {"a": narrow(a, 3)}, {"a": low_rank(a, 3)} if is_whole else {}
    program = chained(("a", a), torch.tanh, ("b", b))
    plain = refit(program, inputs, chains, origins, MANY)["a"]
    monkeypatch.setattr(refitting, "compensated", doubled)
    changed = refit(program, inputs, chains, origins, MANY)["a"]
    np.testing.assert_array_equal(changed[1].weight, 2 * plain[1].weight)
    x = torch.cat([batch["v0"] for batch in inputs])
    with torch.no_grad():
        for found, expected in zip(seen[0], (chain(plain, x), chain([a], x)), strict=True):
            torch.testing.assert_close(
                found, expected.movedim(1, -1).flatten(0, 2), atol=1e-5, rtol=1e-4
            )


def test_the_models_own_outputs_are_not_compensated(monkeypatch):
    """Of three sites two end in outputs: one by itself, one that is added to what comes of the first."""
    a, b, c = (layer(RNG(seed), (5, 5, 1, 1)) for seed in range(3))
    first, second, third = (
        replace(step, takes=takes, gives=gives)
        for step, takes, gives in zip(
            chained(("a", a), ("b", b), ("c", c)).steps,
            [("v0",), ("x",), ("x",)],
            [("x",), ("y",), ("z",)],
            strict=True,
        )
    )
    added = Step("Add", ("x", "y"), ("sum",), lambda x, y: (x + y,))
    program = Program(("v0",), ("sum", "z"), {}, (first, second, added, third))
    compensated = []
    monkeypatch.setattr(refitting, "compensated", lambda made, *_: compensated.append(made) or made)
    chains = {"a": (rough(a),), "b": (rough(b),), "c": (rough(c),)}
    fitted = refit(program, batches(16, 5, 7, 7), chains, {}, MANY)
    assert compensated == [fitted["a"][-1]]


def test_of_wide_patches_the_last_layer_alone_is_fitted(monkeypatch):
    monkeypatch.setattr(refitting, "_WIDEST", 4)
    a, inputs = layer(RNG(1), (6, 5, 1, 1)), batches(16, 5, 7, 7)
    chains = {"a": narrow(a, 3)}
    found, alone = (
        refit(chained(("a", a)), inputs, chains, of, MANY) for of in ({"a": low_rank(a, 3)}, {})
    )
    assert found["a"][0] is chains["a"][0]
    np.testing.assert_array_equal(found["a"][1].weight, alone["a"][1].weight)


def low_rank(made, rank):
    (factorisation,) = FORMS["low-rank"].factorisations(made.convolution)
    return Origin(
        lambda: made, lambda best, moments: factorisation.layers(Target.of(best, moments), rank)
    )


def least_squares(data, target, present):
    """Weights and, in the last column, biases; drawn by a thousandth of the mean variance towards present weights."""
    width = data.shape[1]
    pull = np.sqrt(1e-3 * data.var(0).mean() * len(data))
    rows = np.block([[data, np.ones((len(data), 1))], [pull * np.eye(width), np.zeros((width, 1))]])
    return np.linalg.lstsq(rows, np.concatenate([target, pull * present.T]), rcond=None)[0].T


def by_row(values, shape):
    channels_last = values.movedim(1, -1) if shape[2:] else values
    return channels_last.reshape(-1, channels_last.shape[-1]).double().numpy()


def test_groups_are_fitted_one_by_one():
    a = layer(RNG(1), (6, 2, 3, 3), padding=1, groups=3)
    inputs = batches(8, 6, 9, 9)
    fitted = refit(chained(("a", a)), inputs, {"a": (rough(a),)}, {}, MANY)["a"][0]
    assert fitted.convolution == a.convolution
    np.testing.assert_allclose(
        fitted.weight, a.weight, atol=2e-3
    )  # the layer itself is within reach
    np.testing.assert_allclose(fitted.bias, a.bias, atol=2e-3)


@pytest.mark.parametrize(
    ("bound", "value"), [("_MOST_NUMBERS", 40_000), ("_WORK", 89 * 27 * 16 * (27 + 4))]
)
def test_what_is_held_of_a_site_is_bounded(monkeypatch, bound, value):
    """Rows of depthwise layers with several inputs an output are long and needed in no great number."""
    monkeypatch.setattr(refitting, bound, value)
    held, add = [], refitting._Rows.add
    monkeypatch.setattr(
        refitting._Rows, "add", lambda self, *rows: (held.append(rows), add(self, *rows))[1]
    )
    a = layer(RNG(1), (16, 3, 3, 3), padding=1, groups=16)
    fitted = refit(chained(("a", a)), batches(16, 48, 9, 9), {"a": (rough(a),)}, {}, MANY)["a"][0]
    assert len(held) == 4
    numbers = 16 * (27 + 1)  # in a row
    assert (
        30_000 < sum(part.numel() for rows in held for part in rows) <= 40_000 + len(held) * numbers
    )
    np.testing.assert_allclose(fitted.weight, a.weight, atol=2e-2)


def test_a_strided_layer_without_a_bias_gets_one():
    a = layer(RNG(1), (6, 3, 3, 3), padding=1, stride=2)
    front = Layer(a.convolution, a.weight, None)
    fitted = refit(chained(("a", a)), batches(8, 3, 9, 9, offset=1), {"a": (front,)}, {}, MANY)[
        "a"
    ][0]
    np.testing.assert_allclose(fitted.bias, a.bias, atol=2e-3)


def test_the_error_on_the_calibration_inputs_falls():
    rng = RNG(1)
    sites = {name: layer(rng, (8, 8, 3, 3), padding=1) for name in "abc"}
    parts = [part for name, made in sites.items() for part in ((name, made), torch.relu)]
    program, inputs = chained(*parts[:-1]), batches(8, 8, 8, 8)
    chains = {name: (rough(made),) for name, made in sites.items()}
    fitted = refit(program, inputs, chains, {}, MANY)
    assert Judge(program, inputs).error(fitted) < 0.2 * Judge(program, inputs).error(chains)


def test_a_site_called_twice_is_fitted_once_and_used_twice():
    a = layer(RNG(1), (4, 4, 1, 1))
    program, inputs = chained(("a", a), torch.tanh, ("a", a)), batches(8, 4, 6, 6)
    twice = refit(program, inputs, {"a": narrow(a, 3)}, {}, MANY)
    once = refit(chained(("a", a)), inputs, {"a": narrow(a, 3)}, {}, MANY)
    np.testing.assert_array_equal(twice["a"][1].weight, once["a"][1].weight)


@pytest.mark.parametrize("groups", [1, 2])
def test_wide_layers_whose_inputs_are_far_from_0_are_fitted_as_well_in_less_precision(groups):
    """Of sums that are not centred rounding is a share of the mean's square, 10,000 times the variance."""
    a = layer(RNG(1), (4, 600, 1, 1), groups=groups)
    (fitted,) = refit(
        chained(("a", a)), batches(64, 600 * groups, 5, 5, offset=100), {"a": (rough(a),)}, {}, MANY
    )["a"]
    noise = np.linalg.norm(rough(a).weight - a.weight)
    assert np.linalg.norm(fitted.weight - a.weight) < 0.01 * noise
    given, wanted = (
        chain([made], torch.full((1, 600 * groups, 1, 1), 100.0)) for made in (fitted, a)
    )
    torch.testing.assert_close(given, wanted, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("channels", [3, 600])
@pytest.mark.parametrize("constant", [0.0, 0.1, 3.0])
@pytest.mark.parametrize("rounding", [0.0, 1e-7])
def test_inputs_that_never_change_but_for_rounding_leave_the_weights_and_mend_the_bias(
    constant, channels, rounding
):
    """As behind dead channels: of weights nothing can be learned, of the bias everything."""
    a = layer(RNG(1), (4, channels, 1, 1))
    present = rough(a)
    program = chained(lambda x: constant * (1 + rounding * x.sign()), ("a", a))
    inputs = batches(8, channels, 5, 5)
    fitted = refit(program, inputs, {"a": (present,)}, {}, MANY)
    np.testing.assert_allclose(fitted["a"][0].weight, present.weight, rtol=1e-2, atol=1e-2)
    found, expected = (
        chain([made], torch.full((1, channels, 1, 1), constant)) for made in (fitted["a"][0], a)
    )
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_a_site_whose_values_are_not_finite_stays_as_it_is():
    rng = RNG(1)
    a, b = layer(rng, (3, 3, 1, 1)), layer(rng, (3, 3, 1, 1))
    chains = {"a": (rough(a),), "b": (rough(b),)}
    fitted = refit(chained(("a", a), torch.log, ("b", b)), batches(4, 3, 5, 5), chains, {}, MANY)
    assert fitted["b"][0] is chains["b"][0]
    np.testing.assert_allclose(fitted["a"][0].weight, a.weight, atol=1e-2)


def calibration(program, inputs, held_out):
    """What `refine` asks of a calibration."""
    found = {
        "program": program,
        "batches": inputs,
        "held_out": held_out,
        "observation": Observation({}, {}),
    }
    return SimpleNamespace(**found, batch=4, sample_macs=10)


def test_a_refit_is_kept_where_it_brings_the_outputs_closer_on_held_out_inputs():
    a = layer(RNG(1), (4, 4, 1, 1))
    chains = {"a": narrow(a, 3)}
    found = refine(
        calibration(chained(("a", a)), batches(8, 4, 6, 6), batches(8, 4, 6, 6, seed=1)), chains, {}
    )
    assert found.refitted
    assert found.chains["a"][0] is chains["a"][0]
    assert found.error_after < found.error_before
    assert found.reason is None


def test_last_layers_alone_are_refitted_where_held_out_inputs_say_that_whole_sites_are_worse():
    a = layer(RNG(1), (6, 5, 1, 1))
    chains, bad = {"a": narrow(a, 3)}, Origin(lambda: a, lambda best, _: narrow(best, 3, seed=3))
    inputs = batches(16, 5, 7, 7), batches(8, 5, 6, 6, seed=1)
    found = refine(calibration(chained(("a", a)), *inputs), chains, {"a": bad})
    assert found.chains["a"][0] is chains["a"][0]
    good = refine(calibration(chained(("a", a)), *inputs), chains, {"a": low_rank(a, 3)})
    assert good.error_after < 0.9 * found.error_after
    assert good.chains["a"][0] is not chains["a"][0]


def test_whole_sites_are_fitted_within_the_work_allowed_alone(monkeypatch):
    monkeypatch.setattr(refining, "_WORK", 4 * 4 * 10 - 1)
    a = layer(RNG(1), (6, 5, 1, 1))
    chains = {"a": narrow(a, 3)}
    inputs = batches(16, 5, 7, 7), batches(8, 5, 6, 6, seed=1)
    found = refine(calibration(chained(("a", a)), *inputs), chains, {"a": low_rank(a, 3)})
    assert found.chains["a"][0] is chains["a"][0]


def test_a_refit_is_dropped_where_held_out_inputs_say_that_it_hurts():
    """Fitted on inputs of a single channel, the layers know nothing of the others."""
    a = layer(RNG(1), (4, 4, 1, 1), bias=False)
    exact = narrow(a, 4)
    inverse = np.linalg.inv(exact[0].weight[:, :, 0, 0].astype(np.float64))
    weight = (a.weight[:, :, 0, 0] @ inverse + 0.05 * RNG(2).standard_normal((4, 4)))[
        :, :, None, None
    ]
    chains = {"a": (exact[0], Layer(exact[1].convolution, weight.astype(np.float32), None))}
    one = [
        {"v0": batch["v0"] * torch.eye(4)[0].reshape(1, 4, 1, 1) + 50}
        for batch in batches(8, 4, 6, 6)
    ]
    found = refine(calibration(chained(("a", a)), one, batches(8, 4, 6, 6, seed=1)), chains, {})
    assert not found.refitted
    assert found.chains is chains
    assert found.error_after >= found.error_before


def test_a_program_that_does_not_run_compressed_is_left_as_it_was_with_the_reason(monkeypatch):
    def fail(*_):
        raise StepError("Reshape says: no")

    a = layer(RNG(1), (4, 4, 1, 1))
    chains = {"a": (rough(a),)}
    monkeypatch.setattr(refining, "refit", fail)
    found = refine(calibration(chained(("a", a)), [], batches(4, 4, 6, 6)), chains, {})
    assert (found.chains, found.refitted, found.error_after) == (chains, False, None)
    assert found.reason == "the model does not run compressed: Reshape says: no"
