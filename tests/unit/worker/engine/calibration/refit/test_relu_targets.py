"""Fits before rectifiers: nearer behind them than a plain fit, and only where nothing else looks at the outputs."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from support.programs import chained, layer, norm

from worker.engine.calibration.refit import refit as refitting
from worker.engine.calibration.refit.refit import chain, refit
from worker.engine.calibration.refit.relu_targets import Rectified, rectified
from worker.engine.program import Norm, Program, compute

RNG = np.random.default_rng
SITE = layer(RNG(1), (12, 6, 1, 1))


def Relu(x):  # noqa: N802 - what ONNX calls it
    return x.relu()


def batches():
    x = torch.from_numpy(RNG(0).standard_normal((16, 6, 9, 9)).astype(np.float32))
    return [{"v0": part} for part in x.split(8)]


def behind(program, layers, x):
    """What comes out of a program whose first step is the site, with these layers in its place."""
    value = chain(layers, x)
    for step in program.steps[1:]:
        (value,) = compute(step, [value])
    return value


@pytest.mark.parametrize("between", [[], [norm(RNG(3), 12)]], ids=["bare", "normalised"])
def test_what_comes_out_behind_the_rectifier_is_nearer_than_by_a_plain_fit(monkeypatch, between):
    program = chained(("a", SITE), *between, Relu)
    narrow = {
        "a": (layer(RNG(4), (3, 6, 1, 1), bias=False), layer(RNG(5), (12, 3, 1, 1), bias=False))
    }
    x = torch.cat([batch["v0"] for batch in batches()])
    wanted, errors = behind(program, [SITE], x), []
    for turns in (0, 3):
        monkeypatch.setattr(refitting, "_TURNS", turns)
        found = behind(program, refit(program, batches(), narrow, {}, 1 << 30)["a"], x)
        errors.append(float((found - wanted).square().sum() / wanted.square().sum()))
    assert errors[1] < 0.97 * errors[0]


def test_only_what_rectifiers_alone_look_at_is_rectified():
    stored = norm(RNG(3), 12)
    assert rectified(chained(("a", SITE), Relu), 0) == Rectified(None)
    normalised = chained(("a", SITE), stored, Relu)
    assert rectified(normalised, 0) == Rectified(normalised.steps[1].norm)
    assert rectified(chained(("a", SITE), torch.sigmoid), 0) is None
    assert rectified(chained(("a", SITE), stored, stored, Relu), 0) is None
    assert rectified(chained(("a", SITE)), 0) is None
    seen = chained(("a", SITE), Relu)
    assert rectified(replace(seen, outputs=("v1", "v2")), 0) is None
    other = replace(seen.steps[1], op="Sigmoid", gives=("v3",))
    assert rectified(Program(("v0",), ("v2",), {}, (*seen.steps, other)), 0) is None


def test_behind_a_normalisation_what_is_cut_off_begins_where_that_gives_nothing():
    """The first channel is cut off below 1 and the second above it."""
    weight = torch.tensor([2.0, -2.0])
    stored = Norm(torch.zeros(2), torch.ones(2), weight, -weight, epsilon=0.0)
    original = torch.tensor([[-2.0, 3.0], [-2.0, 3.0], [3.0, -2.0]])[:, None]
    present = torch.tensor([[0.5, 2.0], [2.0, -1.0], [0.5, 2.0]])[:, None]
    found = Rectified(stored).wanted(original, present)
    assert found[:, 0].T.tolist() == [[0.5, 1.0, 3.0], [2.0, 1.0, -2.0]]


def test_equations_are_factored_once_however_often_the_fit_is_repeated(monkeypatch):
    factored, fitted, lu_factor, fit = [], [], torch.linalg.lu_factor, refitting._Rows.fitted
    monkeypatch.setattr(
        torch.linalg, "lu_factor", lambda matrix: (factored.append(matrix), lu_factor(matrix))[1]
    )
    monkeypatch.setattr(
        refitting._Rows, "fitted", lambda *asked: (fitted.append(asked), fit(*asked))[1]
    )
    refit(chained(("a", SITE), Relu), batches(), {"a": (SITE,)}, {}, 1 << 30)
    assert (len(fitted), len(factored)) == (4, 1)
