"""The choice between closed-form factors and refits by held-out inputs."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from support.engine.factored import fit_exactly, low_rank, narrow, rough
from support.engine.programs import chained, layer

from worker.engine.calibration.effort import Effort
from worker.engine.calibration.refit.refit import Origin
from worker.engine.calibration.refit.select_refit import select_refit
from worker.engine.calibration.statistics.covariance import MeasuredMoments
from worker.engine.numerics.convolution import Layer
from worker.engine.program import StepError

RNG = np.random.default_rng


@pytest.fixture(autouse=True)
def exact(monkeypatch):
    fit_exactly(monkeypatch)


def batches(*shape, seed=0):
    x = torch.from_numpy(RNG(seed).standard_normal(shape).astype(np.float32))
    return [{"v0": part} for part in x.split(4)]


def calibration(program, inputs, held_out):
    """The part of a calibration that `select_refit` uses."""
    return SimpleNamespace(
        program=program,
        judged_program=program,
        batches=inputs,
        held_out=held_out,
        moments=MeasuredMoments({}, {}),
        batch=4,
        sample_macs=10,
    )


def test_a_refit_is_kept_where_it_brings_the_outputs_closer_on_held_out_inputs():
    a = layer(RNG(1), (4, 4, 1, 1))
    chains = {"a": narrow(a, 3)}
    choice = select_refit(
        calibration(
            chained(("a", a)), batches(8, 4, 6, 6), batches(8, 4, 6, 6, seed=1)
        ),
        chains,
        {},
    )
    assert choice.refitted
    assert choice.chains["a"][0] is chains["a"][0]
    assert choice.error_after < choice.error_before
    assert choice.reason is None


def test_the_share_of_the_work_is_told_over_all_refits_by_the_sizes_of_patches():
    a, b = layer(RNG(1), (4, 4, 1, 1)), layer(RNG(2), (4, 4, 3, 3))
    chains = {"a": (a,), "b": (b,)}
    inputs = batches(8, 4, 6, 6), batches(8, 4, 6, 6, seed=1)
    shares = []
    select_refit(
        calibration(chained(("a", a), ("b", b)), *inputs),
        chains,
        {},
        tell=shares.append,
    )
    # patches of 4 and of 36 numbers, in two refits side by side
    fits = [0, 4 / 80, 8 / 80, 44 / 80, 1]
    assert shares == pytest.approx([0.08 + 0.88 * share for share in fits])


def test_last_layers_alone_are_refitted_where_held_out_inputs_say_that_whole_sites_are_worse():
    a = layer(RNG(1), (6, 5, 1, 1))
    chains = {"a": narrow(a, 3)}
    bad = Origin(lambda: a, lambda best, _: narrow(best, 3, seed=3))
    inputs = batches(16, 5, 7, 7), batches(8, 5, 6, 6, seed=1)
    choice = select_refit(calibration(chained(("a", a)), *inputs), chains, {"a": bad})
    assert choice.chains["a"][0] is chains["a"][0]
    good = select_refit(
        calibration(chained(("a", a)), *inputs), chains, {"a": low_rank(a, 3)}
    )
    assert good.error_after < 0.9 * choice.error_after
    assert good.chains["a"][0] is not chains["a"][0]


def test_whole_sites_are_fitted_only_within_the_effort():
    effort = Effort(whole_site_macs=4 * 4 * 10 - 1)
    a = layer(RNG(1), (6, 5, 1, 1))
    chains = {"a": narrow(a, 3)}
    inputs = batches(16, 5, 7, 7), batches(8, 5, 6, 6, seed=1)
    choice = select_refit(
        calibration(chained(("a", a)), *inputs), chains, {"a": low_rank(a, 3)}, effort
    )
    assert choice.chains["a"][0] is chains["a"][0]


def test_a_refit_is_dropped_where_held_out_inputs_say_that_it_hurts():
    """Fitted on inputs of a single channel, the layers know nothing of the others."""
    a = layer(RNG(1), (4, 4, 1, 1), bias=False)
    exact = narrow(a, 4)
    inverse = np.linalg.inv(exact[0].weight[:, :, 0, 0].astype(np.float64))
    weight = (a.weight[:, :, 0, 0] @ inverse + 0.05 * RNG(2).standard_normal((4, 4)))[
        :, :, None, None
    ]
    chains = {
        "a": (exact[0], Layer(exact[1].convolution, weight.astype(np.float32), None))
    }
    one = [
        {"v0": batch["v0"] * torch.eye(4)[0].reshape(1, 4, 1, 1) + 50}
        for batch in batches(8, 4, 6, 6)
    ]
    choice = select_refit(
        calibration(chained(("a", a)), one, batches(8, 4, 6, 6, seed=1)), chains, {}
    )
    assert not choice.refitted
    assert choice.chains is chains
    assert choice.error_after >= choice.error_before


def test_a_program_that_does_not_run_compressed_is_left_as_it_was_with_the_reason(
    monkeypatch,
):
    def fail(*_):
        raise StepError("Reshape says: no")

    a = layer(RNG(1), (4, 4, 1, 1))
    chains = {"a": (rough(a),)}
    monkeypatch.setattr("worker.engine.calibration.refit.select_refit.refits", fail)
    choice = select_refit(
        calibration(chained(("a", a)), [], batches(4, 4, 6, 6)), chains, {}
    )
    assert (choice.chains, choice.refitted, choice.error_after) == (chains, False, None)
    assert choice.reason == "the model does not run compressed: Reshape says: no"
