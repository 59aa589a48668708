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
    assert kept.count(STYLES["torchscript"].label) == drawn.count(
        STYLES["torchscript"].label
    )


def test_a_row_has_no_point_at_a_budget_out_of_reach():
    figures = {"keeps": [0.8, 0.5], "dac": {"cells": [{"score": 70.0}, None]}}
    assert row_points(figures, "dac") == [(0.8, 70.0)]
    assert row_points(figures, "real") == []


@pytest.mark.parametrize(
    "positions", [[0.5, 0.5, 0.5], [0.98, 0.99, 1.0], [0.0, 0.3, 0.01]]
)
def test_labels_are_apart_and_within_the_panel(positions):
    heights = spread(positions, 0.06)
    assert all(0 <= height <= 1 for height in heights)
    ascending = sorted(heights)
    assert all(upper - lower > 0.0599 for lower, upper in itertools.pairwise(ascending))


NETWORKS = json.loads((DOCS / "accuracy.json").read_text())["networks"]
# Texts of the tables, and names of networks and rows in the figures.
HEADINGS = {
    "ResNet-20": "cifar10/resnet20",
    "SqueezeNet": "imagenet/squeezenet1_0",
    "MobileNetV1": "imagenet/mobilenetv1_025",
    "DnCNN": "denoise/dncnn_s25",
}
ROWS = {
    "**convpress, no data**: TorchScript": "torchscript",
    "**convpress, no data**: ONNX": "onnx",
    "convpress with real images": "real",
    "all forms, weights only": "weights",
    "DAC with allocated ranks, weights only": "dac",
    "DAC as published, one rank everywhere": "dac uniform",
    "channel form under real images": "balf",
}


def rows_of(path):
    lines = [line for line in path.read_text().splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def network_of(text):
    names = [
        network
        for heading, network in HEADINGS.items()
        if text.strip("*").startswith(heading)
    ]
    return NETWORKS[names[0]] if names else None


def number(text):
    return None if text == "-" else float(text)


def test_the_table_of_accuracy_has_the_figures_of_the_chart():
    network = None
    compared = 0
    for label, *cells in rows_of(DOCS / "accuracy.md"):
        network = network_of(label) or network
        if label in ROWS and len(cells) > 1:
            scores = [cell and cell["score"] for cell in network[ROWS[label]]["cells"]]
            assert [number(cell) for cell in cells] == scores, label
            compared += 1
    assert compared == sum(
        any(network[row]["cells"])
        for network in NETWORKS.values()
        for row in ROWS.values()
    )


def test_the_table_of_the_readme_has_the_figures_of_the_chart():
    compared = 0
    for label, *cells in rows_of(DOCS.parent / "README.md"):
        network = network_of(label)
        if network is None:
            continue
        scores = {row: dict(row_points(network, row)) for row in STYLES}
        assert [number(cell) for cell in cells[:6]] == [
            network["original"],
            scores["torchscript"][0.7],
            scores["real"][0.7],
            scores["torchscript"][0.5],
            scores["real"][0.5],
            scores["dac uniform"].get(0.5),
        ]
        compared += 1
    assert compared == len(HEADINGS)
