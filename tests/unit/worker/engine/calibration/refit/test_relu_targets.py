"""Fits before ReLUs: nearer behind them than a plain fit, where nothing else uses the outputs."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from support.engine.programs import chained, layer, norm

from worker.engine.calibration.chains import run_chain
from worker.engine.calibration.effort import DEFAULT_EFFORT, Effort
from worker.engine.calibration.refit.least_squares import RegressionRows
from worker.engine.calibration.refit.refit import refit
from worker.engine.calibration.refit.relu_targets import ReluTargets, relu_targets
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
    value = run_chain(layers, x)
    for step in program.steps[1:]:
        (value,) = compute(step, [value])
    return value


@pytest.mark.parametrize(
    "between", [[], [norm(RNG(3), 12)]], ids=["bare", "normalised"]
)
def test_outputs_behind_the_relu_are_nearer_than_by_a_plain_fit(between):
    program = chained(("a", SITE), *between, Relu)
    first = layer(RNG(4), (3, 6, 1, 1), bias=False)
    second = layer(RNG(5), (12, 3, 1, 1), bias=False)
    narrow = {"a": (first, second)}
    x = torch.cat([batch["v0"] for batch in batches()])
    expected = behind(program, [SITE], x)
    errors = []
    for fits in (0, 3):
        fitted = refit(program, batches(), narrow, {}, Effort(relu_fits=fits))
        outputs = behind(program, fitted["a"], x)
        difference = (outputs - expected).square().sum()
        errors.append(float(difference / expected.square().sum()))
    assert errors[1] < 0.97 * errors[0]


def test_only_sites_whose_outputs_relus_alone_use_have_targets():
    stored = norm(RNG(3), 12)
    assert relu_targets(chained(("a", SITE), Relu), 0) == ReluTargets(None)
    normalised = chained(("a", SITE), stored, Relu)
    assert relu_targets(normalised, 0) == ReluTargets(normalised.steps[1].norm)
    assert relu_targets(chained(("a", SITE), torch.sigmoid), 0) is None
    assert relu_targets(chained(("a", SITE), stored, stored, Relu), 0) is None
    assert relu_targets(chained(("a", SITE)), 0) is None
    seen = chained(("a", SITE), Relu)
    assert relu_targets(replace(seen, outputs=("v1", "v2")), 0) is None
    other = replace(seen.steps[1], op="Sigmoid", gives=("v3",))
    assert relu_targets(Program(("v0",), ("v2",), {}, (*seen.steps, other)), 0) is None


def test_a_normalisation_moves_the_value_at_which_the_relu_cuts():
    """The first channel is cut off below 1 and the second above it."""
    weight = torch.tensor([2.0, -2.0])
    stored = Norm(torch.zeros(2), torch.ones(2), weight, -weight, epsilon=0.0)
    original = torch.tensor([[-2.0, 3.0], [-2.0, 3.0], [3.0, -2.0]])[:, None]
    present = torch.tensor([[0.5, 2.0], [2.0, -1.0], [0.5, 2.0]])[:, None]
    targets = ReluTargets(stored).targets(original, present)
    assert targets[:, 0].T.tolist() == [[0.5, 1.0, 3.0], [2.0, 1.0, -2.0]]


def test_equations_are_factored_once_however_often_the_fit_is_repeated(monkeypatch):
    factored = []
    fitted = []
    lu_factor = torch.linalg.lu_factor
    fit = RegressionRows.fit
    monkeypatch.setattr(
        torch.linalg,
        "lu_factor",
        lambda matrix: (factored.append(matrix), lu_factor(matrix))[1],
    )
    monkeypatch.setattr(
        RegressionRows,
        "fit",
        lambda *arguments: (fitted.append(arguments), fit(*arguments))[1],
    )
    refit(chained(("a", SITE), Relu), batches(), {"a": (SITE,)}, {}, DEFAULT_EFFORT)
    assert len(fitted) == 4
    assert len(factored) == 1
