"""The chart of accuracy names each row at its line, the same in every panel."""

import itertools
import json
from pathlib import Path

import pytest
from accuracy_chart import STYLES, draw, row_points, spread

DOCS = Path(__file__).parents[3] / "docs"


def test_rows_differ_without_colour_and_with_it():
    shapes = {(style.marker, style.line) for style in STYLES.values()}
    colours = {style.colour for style in STYLES.values()}
    assert len(shapes) == len(colours) == len(STYLES)


def test_the_chart_in_the_documents_is_that_of_their_figures(tmp_path):
    networks = json.loads((DOCS / "accuracy.json").read_text())["networks"]
    draw(tmp_path / "accuracy.svg", networks)
    drawn = (tmp_path / "accuracy.svg").read_text()
    kept = (DOCS / "accuracy.svg").read_text()
    for network, figures in networks.items():
        assert network in drawn
        assert network in kept
        for row, style in STYLES.items():
            if row_points(figures, row):
                assert style.label in kept
    assert kept.count(STYLES["torchscript"].label) == drawn.count(STYLES["torchscript"].label)


def test_a_row_has_no_point_at_a_budget_out_of_reach():
    figures = {"keeps": [0.8, 0.5], "dac": {"cells": [{"score": 70.0}, None]}}
    assert row_points(figures, "dac") == [(0.8, 70.0)]
    assert row_points(figures, "real") == []


@pytest.mark.parametrize("positions", [[0.5, 0.5, 0.5], [0.98, 0.99, 1.0], [0.0, 0.3, 0.01]])
def test_labels_are_apart_and_within_the_panel(positions):
    heights = spread(positions, 0.06)
    assert all(0 <= height <= 1 for height in heights)
    ascending = sorted(heights)
    assert all(upper - lower > 0.0599 for lower, upper in itertools.pairwise(ascending))
