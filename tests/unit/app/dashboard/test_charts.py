"""The charts stay within their frames."""

from itertools import combinations

import pytest

from app.dashboard.charts import Mark, labels, tradeoff


def test_a_chart_stays_within_its_frame():
    chart = tradeoff([(0.02, 1.7), (0.5, 0.1), (1.0, 0.0)], [Mark(0.5, 2.5, "far off")])
    for dot in (*chart.dots, *chart.marks):
        assert chart.left <= dot.x <= chart.right
        assert chart.top <= dot.y <= chart.bottom


@pytest.mark.parametrize("keep", [0.02, 0.5, 1.0])
def test_names_of_marks_keep_apart_and_within_the_frame(keep):
    marks = [
        Mark(keep, 0.1, "", name="predicted 10 %"),
        Mark(keep, 0.11, "", name="measured 11 %"),
    ]
    chart = tradeoff([(0.02, 1.7), (1.0, 0.0)], marks)
    above, below = labels(chart)
    assert (above.text, below.text) == ("measured 11 %", "predicted 10 %")
    assert below.y - above.y >= 20
    for label in (above, below):
        assert chart.left < label.x < chart.right
        assert label.anchor == ("end" if keep == 1.0 else "start")


@pytest.mark.parametrize(
    "places",
    [
        [(0.5, 0.3), (0.5, 0.29), (0.5, 0.28)],
        [(0.5, 0.0)] * 6,
        [(0.2, 0.3), (1.0, 0.1), (0.4, 0.1)],  # the second is to the left of its mark
    ],
)
def test_names_of_many_marks_keep_apart(places):
    marks = [Mark(keep, error, "", name="50 %") for keep, error in places]
    width = 12 * len("50 %")
    spans = [
        (label.x - width * (label.anchor == "end"), label.y)
        for label in labels(tradeoff([], marks))
    ]
    for (x, y), (other_x, other_y) in combinations(spans, 2):
        assert abs(x - other_x) >= width or abs(y - other_y) >= 20


def test_a_short_name_stays_at_its_mark():
    marks = [
        Mark(keep, error, "", name=name)
        for keep, error, name in (
            (0.3, 0.14, "0.3"),
            (0.5, 0.06, "0.5"),
            (0.675, 0.03, "0.7"),
            (0.9, 0.004, "0.9"),
        )
    ]
    chart = tradeoff([(0.02, 1.7), (1.0, 0.0)], marks)
    for label, mark in zip(labels(chart), chart.marks, strict=True):
        assert label.text == mark.name
        assert abs(label.x - mark.x) <= 12
        assert abs(label.y - mark.y) <= 22


def test_names_of_marks_on_the_axis_keep_apart():
    marks = [
        Mark(1.0, 0.0, "", name=name) for name in ("predicted 0 %", "measured 0 %")
    ]
    chart = tradeoff([(1.0, 0.0)], marks)
    first, second = labels(chart)
    assert first.y - second.y >= 20
    assert chart.y_ticks[-1].label == "10 %"
