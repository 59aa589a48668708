"""Progress: seconds, fractions by the weights of phases, and memory that is given back."""

import pytest

from convpress.phases import PHASES
from worker.engine.phase_weights import (
    BY_WEIGHTS,
    CALIBRATED,
    CHOSEN,
    CHOSEN_BY_WEIGHTS,
    INT8_ALONE,
)
from worker.engine.progress import Progress, shares_before

# the share of the loading
LOADED = CALIBRATED["loading"] / sum(CALIBRATED.values())


@pytest.fixture
def reports():
    return []


@pytest.fixture
def progress(reports):
    return Progress(lambda *step: reports.append(step))


def test_progress_counts_the_seconds_of_every_phase(progress, reports):
    progress.enter("loading")
    progress.enter("factoring")
    progress.within(1, 2)
    progress.close()
    assert [phase for phase, _ in reports] == ["loading", "factoring", "factoring"]
    assert progress.seconds.keys() == {"loading", "factoring"}


def test_phases_in_order_have_their_weights(progress, reports):
    for phase in PHASES:
        progress.enter(phase)
    total = sum(CALIBRATED.values())
    starts = [
        sum(CALIBRATED[each] for each in PHASES[:at]) / total
        for at in range(len(PHASES))
    ]
    assert [fraction for _, fraction in reports] == pytest.approx(starts, abs=1e-4)


def test_a_phase_that_is_left_out_leaves_its_share_to_those_that_follow(
    progress, reports
):
    progress.weigh({"loading": 0.0, "refining": 6.0, "rewriting": 0.0})
    progress.weigh({"verifying": 3.0, "storing": 1.0})
    for phase in ("loading", "refining", "verifying", "storing"):
        progress.enter(phase)
    assert [fraction for _, fraction in reports] == pytest.approx([0, 0, 0.6, 0.9])


def test_work_that_is_weighed_anew_begins_where_the_phase_is(progress, reports):
    progress.enter("measuring")
    progress.within(1, 2)
    behind = sum(CALIBRATED.values()) - CALIBRATED["loading"] - CALIBRATED["measuring"]
    progress.weigh({"measuring": 3 * behind})
    progress.within(0, 1)
    progress.within(1, 1)
    _, half, again, end = [fraction for _, fraction in reports]
    assert again == half
    assert 1 - end == pytest.approx((1 - half) / 4, abs=1e-3)


@pytest.mark.parametrize("weights", [BY_WEIGHTS, CHOSEN, CHOSEN_BY_WEIGHTS, INT8_ALONE])
def test_a_job_of_any_kind_goes_forward_to_its_end(progress, reports, weights):
    progress.enter("loading")
    progress.weigh(weights)
    for phase in PHASES[1:]:
        progress.enter(phase)
    progress.within(1, 1)
    fractions = [fraction for _, fraction in reports]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1


def test_each_of_several_tries_fills_its_part(progress, reports):
    for start, end in ((0.0, 0.5), (0.5, 1.0)):
        progress.stretch(start, end)
        progress.enter("loading")
        progress.enter("measuring")
        progress.within(1, 1)
    fractions = [fraction for _, fraction in reports]
    assert fractions == sorted(fractions)
    assert fractions[1] == pytest.approx(LOADED / 2, abs=1e-4)
    assert fractions[2] < 0.5 <= fractions[3]


def test_a_phase_begins_with_free_memory_given_back(monkeypatch):
    happened = []
    monkeypatch.setattr(
        "worker.engine.numerics.memory.give_back", lambda: happened.append("given back")
    )
    progress = Progress(lambda phase, _: happened.append(phase))
    progress.enter("measuring")
    progress.within(1, 2)
    assert happened == ["given back", "measuring", "measuring"]


def test_the_shares_before_parts_of_work_are_those_of_all_earlier_parts():
    assert shares_before([2.0, 1.0, 1.0]) == [0.0, 0.5, 0.75]
    assert shares_before([]) == []


def test_parts_without_work_have_no_share():
    assert shares_before([0.0, 0.0]) == [0.0, 0.0]
