"""The chart of accuracy over FLOPs, from the figures that `accuracy.py` has written.

    python benchmarks/accuracy_chart.py docs

draws docs/accuracy.svg from docs/accuracy.json. A row has the same colour, marker and line in
every panel, and its name at the end of its line, so that the chart needs no legend and no colour.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple


class Style(NamedTuple):
    """How a row is drawn: its label, and matplotlib's names of colour, marker and line."""

    label: str
    colour: str
    marker: str
    line: str


# Colours that people with any colour vision tell apart (Okabe and Ito); convpress's own are thick.
STYLES = {
    "torchscript": Style("convpress, TorchScript", "#0072b2", "o", "-"),
    "onnx": Style("convpress, ONNX", "#56b4e9", "s", "-"),
    "real": Style("convpress, real images", "#009e73", "^", "-"),
    "weights": Style("all forms, weights only", "#e69f00", "v", "--"),
    "dac": Style("DAC, allocated ranks", "#d55e00", "D", "--"),
    "dac uniform": Style("DAC as published", "#000000", "x", ":"),
    "balf": Style("channel form, real images", "#cc79a7", "P", "-."),
}
_COLUMNS = 2
# Share of the height of a panel that a label needs.
_LABEL_HEIGHT = 0.055


def draw(path: Path, networks: Mapping[str, Any]) -> None:
    """Draw a panel for each network, as SVG."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    plt.rcParams["svg.hashsalt"] = "convpress"
    rows = -(-len(networks) // _COLUMNS)
    figure, axes = plt.subplots(
        rows, _COLUMNS, figsize=(5.5 * _COLUMNS, 3.8 * rows), squeeze=False
    )
    for axis in axes.flat[len(networks) :]:
        axis.set_axis_off()
    panels = zip(axes.flat, networks.items(), strict=False)
    for axis, (network, figures) in panels:
        _draw_panel(axis, network, figures)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def _draw_panel(axis: Any, network: str, figures: Mapping[str, Any]) -> None:  # noqa: ANN401
    """Draw one network: the original's score, and a labelled line for each row."""
    axis.axhline(figures["original"], color="0.5", linewidth=1)
    axis.set(xlabel="FLOPs kept", ylabel=figures["metric"])
    axis.set_title(f"{network}: original {figures['original']:g}", fontsize=10)
    ends = {}
    for row, style in STYLES.items():
        points = row_points(figures, row)
        if not points:
            continue
        keeps, scores = zip(*points, strict=True)
        axis.plot(
            keeps,
            scores,
            color=style.colour,
            marker=style.marker,
            linestyle=style.line,
            linewidth=2.2 if style.line == "-" else 1.3,
            markersize=5,
        )
        ends[row] = points[-1]
    lowest_keep, highest_keep = min(figures["keeps"]), max(figures["keeps"])
    span = highest_keep - lowest_keep
    # The budget gets tighter to the right; labels are in the room beyond the tightest.
    axis.set_xlim(highest_keep + 0.04 * span, lowest_keep - 0.75 * span)
    axis.set_xticks(figures["keeps"])
    bottom, top = axis.get_ylim()
    height = top - bottom
    axis.set_ylim(bottom, top)
    wished = [(score - bottom) / height for _, score in ends.values()]
    for (row, end), share in zip(
        ends.items(), spread(wished, _LABEL_HEIGHT), strict=True
    ):
        style = STYLES[row]
        height_of_label = bottom + share * height
        axis.text(
            lowest_keep - 0.17 * span,
            height_of_label,
            style.label,
            color=style.colour,
            fontsize=8,
            verticalalignment="center",
        )
        # The line runs on to its marker before the label: lines that end in one point stay apart.
        axis.plot(
            (end[0], lowest_keep - 0.13 * span),
            (end[1], height_of_label),
            color=style.colour,
            linewidth=0.6,
        )
        axis.plot(
            lowest_keep - 0.13 * span,
            height_of_label,
            color=style.colour,
            marker=style.marker,
            markersize=5,
        )


def row_points(figures: Mapping[str, Any], row: str) -> list[tuple[float, float]]:
    """Return a row's pairs of FLOPs kept and score, without budgets that are out of reach."""
    cells = figures.get(row, {"cells": ()})["cells"]
    pairs = zip(figures["keeps"], cells, strict=False)
    return [(keep, cell["score"]) for keep, cell in pairs if cell]


def spread(positions: Sequence[float], gap: float) -> list[float]:
    """Return positions in [0, 1] in the same order of height, and at least a gap apart.

    >>> spread([0.5, 0.5, 0.0], 0.1)
    [0.5, 0.6, 0.0]
    """
    order = sorted(range(len(positions)), key=lambda index: positions[index])
    heights = list(positions)
    for lower, upper in pairwise(order):
        heights[upper] = max(heights[upper], heights[lower] + gap)
    # What stands above the panel now moves down, and pushes what is below it.
    ceiling = 1.0
    for index in reversed(order):
        heights[index] = min(heights[index], ceiling)
        ceiling = heights[index] - gap
    return heights


def main() -> None:
    """Draw the chart of a folder's figures."""
    folder = Path(sys.argv[1])
    figures = json.loads((folder / "accuracy.json").read_text())
    draw(folder / "accuracy.svg", figures["networks"])


if __name__ == "__main__":
    main()
