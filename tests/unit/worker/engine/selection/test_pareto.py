"""Pareto fronts, against a search of all pairs."""

from hypothesis import given
from hypothesis import strategies as st

from worker.engine.selection.candidates import Candidate
from worker.engine.selection.pareto import pareto_front

candidates = st.builds(
    Candidate,
    st.integers(1, 6),
    st.integers(1, 6),
    st.sampled_from([0.0, 0.1, 0.2, 0.3]),
)


def measures(candidate):
    return candidate.macs, candidate.parameters, candidate.error


def beats(one, other):
    """Whether no measure of one is worse, and one is better."""
    pairs = list(zip(measures(one), measures(other), strict=True))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


@given(st.lists(candidates, max_size=20))
def test_the_front_has_what_nothing_beats_once_and_in_order(every):
    front = pareto_front(every)
    unbeaten = {
        measures(each)
        for each in every
        if not any(beats(other, each) for other in every)
    }
    assert [measures(each) for each in front] == sorted(
        unbeaten, key=lambda each: (each[0], each[2], each[1])
    )
