"""The plan of int8: what it is measured on, what stays in float, and which choice is taken."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from support.engine.analyses import (
    GEOMETRY,
    ORIGINAL,
    QUICK,
    analysed,
    objective_of,
    timed,
)

from convpress.budgets import FLOPS, LATENCY
from convpress.refusal import Code, Refusal
from worker.engine.calibration.effort import RANGES_EFFORT
from worker.engine.decompose.forms.spatial import spatial
from worker.engine.formats.adapter import Int8Losses, Int8Writer
from worker.engine.model import CostProfile, TensorSpec
from worker.engine.progress import Progress
from worker.engine.request import Request
from worker.engine.stages import int8_plan
from worker.engine.stages.int8_plan import (
    Int8Plan,
    choose_with_int8,
    floats_of,
    int8_writer,
    plan_int8,
    with_inputs_for_ranges,
)

SPEC = TensorSpec("x", "float32", (1, 2))
QUANTISED = replace(ORIGINAL, quantised=True, nanoseconds=20)


def request(tmp_path=None, precision="int8"):
    output = "" if tmp_path is None else str(tmp_path / "out.onnx")
    return Request("", "onnx", output, "", precision=precision)


def opened(macs):
    sites = tuple(replace(site, macs=macs) for site in analysed().sites)
    model = SimpleNamespace(inputs=[SPEC], save=lambda path: path.touch())
    profile = CostProfile(sites, {})
    return SimpleNamespace(model=model, shapes={"x": (1, 2)}, profile=profile)


def batches(number):
    return [{"x": torch.full((4, 2), float(at))} for at in range(number)]


def measured(number=30, kind="distilled"):
    statistics = SimpleNamespace(
        batches=batches(number), held_out=batches(3), report_members={"kind": kind}
    )
    return replace(analysed(), calibration=statistics)


@pytest.mark.parametrize(
    ("macs", "fitting", "held_out"),
    # a model of little work runs on all that is wanted, and one of much on the least
    [(10**3, 120, 6), (10**11, 3, 6), (10**12, 1, 3)],
)
def test_costly_models_run_less_often(macs, fitting, held_out):
    plan = plan_int8(request(), opened(macs), measured())
    assert len(plan.inputs.fitting) == fitting
    assert len(plan.inputs.held_out) == held_out
    assert plan.float_sites == frozenset()


def test_inputs_of_one_kind_are_half_as_many():
    plan = plan_int8(request(), opened(10**3), measured(kind="synthetic"))
    assert len(plan.inputs.fitting) == 60


def test_inputs_are_spread_over_all_batches():
    plan = plan_int8(request(), opened(10**10), measured())
    first = [float(each["x"][0, 0]) for each in plan.inputs.fitting]
    assert (first[0], first[-1]) == (0, 29)


@pytest.mark.parametrize(("samples", "is_own"), [(None, True), ("real.npz", False)])
def test_a_factored_model_has_the_ranges_of_int8_alone_but_for_samples(
    monkeypatch, samples, is_own
):
    own = SimpleNamespace()

    def measure(request, opened, progress, effort, *, with_moments, phase):
        assert effort is RANGES_EFFORT
        assert not with_moments
        progress.within(1, 2)
        progress.weigh({phase: 1.0})
        progress.within(1, 2)
        return own

    monkeypatch.setattr(int8_plan, "measure_statistics", measure)
    asked = replace(request(), samples=samples)
    fitted = measured()
    fractions = []
    progress = Progress(lambda _, fraction: fractions.append(fraction))
    progress.enter("allocating")
    progress.within(1, 1)
    analysis = with_inputs_for_ranges(asked, opened(1), progress, fitted)
    assert (analysis.calibration is own) == is_own
    assert analysis.candidates == fitted.candidates
    progress.enter("refining")
    assert fractions == sorted(fractions)
    # ranges that are measured have a share of the job
    assert (len(set(fractions)) > 2) == is_own


def test_without_a_calibration_there_are_no_inputs_for_ranges():
    analysis = analysed()
    assert with_inputs_for_ranges(request(), opened(1), None, analysis) is analysis


def test_without_inputs_int8_is_refused_and_auto_does_without():
    assert plan_int8(request(precision="auto"), opened(1), analysed()) is None
    with pytest.raises(Refusal, match="the request asks for no calibration") as refused:
        plan_int8(request(), opened(1), analysed())
    assert refused.value.code == Code.PRECISION_INVALID


def test_sites_whose_candidates_are_not_quantised_stay_in_float():
    assert floats_of(analysed(), [ORIGINAL]) == {"a"}
    assert floats_of(analysed(), [QUANTISED]) == frozenset()


def test_a_plan_names_the_sites_in_float():
    plan = Int8Plan(None).without(["a", "a"])
    assert plan.float_sites == {"a"}


def test_the_writer_is_that_of_the_format():
    assert isinstance(int8_writer("onnx"), Int8Writer)


@pytest.fixture
def writer(monkeypatch):
    """A writer that loses a little in the one site."""
    writer = SimpleNamespace(
        losses=lambda *_: Int8Losses({"a": 0.01}, all_survive=True),
        why_not=lambda _: None,
    )
    monkeypatch.setattr(int8_plan, "int8_writer", lambda _: writer)
    return writer


def chosen(tmp_path, analysis, objective, precision="int8"):
    plan = Int8Plan(None)
    asked = request(tmp_path, precision)
    _, choice = choose_with_int8(asked, opened(1000), analysis, plan, objective)
    assert not list(tmp_path.iterdir())
    return choice


def test_int8_factors_what_the_budget_asks_for(tmp_path, writer):
    objective = objective_of(FLOPS, 600, int8_only=True, at_any_price=True)
    dense = replace(QUICK, factorisation=spatial(GEOMETRY)[0])
    (candidate,) = chosen(tmp_path, analysed(dense), objective)
    assert candidate.quantised
    assert candidate.form == "spatial"


def test_a_budget_of_time_needs_prices_of_int8(tmp_path, writer):
    objective = objective_of(LATENCY, 100)
    with pytest.raises(Refusal, match="no layers in int8") as refused:
        chosen(tmp_path, analysed(QUICK), objective)
    assert refused.value.code == Code.COST_TABLE_INVALID


def test_auto_stays_in_float_where_that_loses_less_and_not_all_survive_int8(
    tmp_path, writer
):
    writer.losses = lambda *_: Int8Losses({"a": 0.01}, all_survive=False)
    (candidate,) = chosen(tmp_path, timed(), objective_of(FLOPS, 1000), "auto")
    assert candidate == ORIGINAL


def test_auto_is_int8_alone_where_all_survive_and_no_price_tells_against_it(
    tmp_path, writer
):
    (candidate,) = chosen(tmp_path, timed(), objective_of(FLOPS, 1000), "auto")
    assert candidate.quantised
    assert candidate.form == ORIGINAL.form


def test_auto_is_not_int8_alone_for_a_budget_of_time_without_prices_of_int8(
    tmp_path, writer
):
    quick = replace(QUICK, nanoseconds=50)
    (candidate,) = chosen(tmp_path, timed(quick), objective_of(LATENCY, 960), "auto")
    assert candidate == quick


def test_auto_without_a_choice_is_refused(tmp_path, writer):
    with pytest.raises(Refusal) as refused:
        chosen(tmp_path, analysed(QUICK), objective_of(FLOPS, 1), "auto")
    assert refused.value.code == Code.BUDGET_UNREACHABLE


def test_the_file_that_losses_are_measured_on_goes_after_a_failure(tmp_path, writer):
    def fail(source, scratch, inputs):
        assert source.exists()
        raise MemoryError

    writer.losses = fail
    with pytest.raises(MemoryError):
        chosen(tmp_path, analysed(QUICK), objective_of(FLOPS, 600))
    assert not list(tmp_path.iterdir())


def test_arrays_are_those_of_the_batches():
    plan = plan_int8(request(), opened(10**12), measured(1))
    (only,) = plan.inputs.fitting
    np.testing.assert_array_equal(only["x"], np.zeros((1, 2), np.float32))
