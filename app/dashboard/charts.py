"""Charts: data in, coordinates of an SVG out.

To add a chart, write a function here that returns a record of coordinates, and a block in a
template that draws it. Every chart has a table of the same numbers, for those who cannot see it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

# Half as wide as a page: on a phone the letters of a wider chart would be too small, or too wide
# for its frame.
WIDTH, HEIGHT = 640, 300
# Around the axes is room for their labels in the letters of a phone, which are larger.
_LEFT, _RIGHT, _TOP, _BOTTOM = 94, 36, 46, 56
# The width of a letter of a mark's name in these letters, with some room, and the height.
_LETTER_WIDTH = 12
_LABEL_HEIGHT = 20


class Tick(NamedTuple):
    """A grid line: its coordinate and its label."""

    at: float
    label: str


class Dot(NamedTuple):
    """A point of a curve: its coordinates and its values."""

    x: float
    y: float
    keep: float
    error: float
    label: str
    href: str | None
    measured: bool
    name: str


class Mark(NamedTuple):
    """A result to mark: the fraction kept, the error of the outputs, a label and a link.

    A mark is full where the error was measured, and a ring where it was predicted. `name` is a
    short text that stands beside it.
    """

    keep: float
    error: float
    label: str
    href: str | None = None
    measured: bool = True
    name: str = ""


class Label(NamedTuple):
    """The name of a mark: the coordinates of its text, and the end of the text that is there."""

    x: float
    y: float
    anchor: Literal["start", "end"]
    text: str


@dataclass(frozen=True)
class Tradeoff:
    """The error of the outputs against the fraction kept: a predicted curve, and results."""

    path: str
    dots: tuple[Dot, ...]
    marks: tuple[Dot, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    width: float = WIDTH
    height: float = HEIGHT
    quantity: str = "FLOPs"
    left: float = _LEFT
    right: float = WIDTH - _RIGHT
    top: float = _TOP
    bottom: float = HEIGHT - _BOTTOM


def tradeoff(
    curve: Sequence[tuple[float, float]], marks: Sequence[Mark], quantity: str = "FLOPs"
) -> Tradeoff:
    """Return the chart of a trade-off: fractions of `quantity` kept, and relative errors.

    Points above the top are drawn at its edge, whose label says so: an error of 60 % and one of 300
    % are both useless.

    >>> curve = [(0.1, 3.0), (0.5, 0.1), (1.0, 0.0)]
    >>> tradeoff(curve, [Mark(0.5, 0.1, "this job")]).y_ticks[-1].label
    '≥ 60 %'
    """
    highest, step = _scale(curve, marks)

    def place(mark: Mark) -> Dot:
        keep, error, label, href, measured, name = mark
        x = _LEFT + (WIDTH - _LEFT - _RIGHT) * keep
        y = HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * min(error / highest, 1.0)
        return Dot(round(x, 1), round(y, 1), keep, error, label, href, measured, name)

    dots = tuple(place(Mark(keep, error, "", measured=False)) for keep, error in curve)
    steps = [f"{dot.x} {dot.y}" for dot in dots]
    path = "M" + "L".join(steps) if steps else ""
    placed_marks = tuple(map(place, marks))
    x_ticks = tuple(
        Tick(place(Mark(fifth / 5, 0, "")).x, f"{20 * fifth} %") for fifth in range(6)
    )
    lines = [step * number for number in range(round(highest / step) + 1)]
    y_ticks = [
        Tick(place(Mark(0, error, "")).y, f"{100 * error:.3g} %") for error in lines
    ]
    if any(dot.error > highest for dot in (*dots, *placed_marks)):
        y_ticks[-1] = y_ticks[-1]._replace(label=f"≥ {y_ticks[-1].label}")
    return Tradeoff(
        path, dots, placed_marks, x_ticks, tuple(y_ticks), quantity=quantity
    )


def labels(chart: Tradeoff) -> tuple[Label, ...]:
    """Return the names of the marks that have one: the highest above its mark, the others below.

    One that would be written over another goes to the nearest free place above or below one.
    """
    highest_first = sorted(
        (mark for mark in chart.marks if mark.name), key=lambda mark: mark.y
    )
    names: list[Label] = []
    for place, mark in enumerate(highest_first):
        is_right = mark.x > chart.right - _width(mark.name)
        x = mark.x - 12 if is_right else mark.x + 12
        y = (
            max(mark.y - 10, chart.top)
            if place == 0
            else min(mark.y + 22, chart.bottom - 6)
        )
        label = Label(x, y, "end" if is_right else "start", mark.name)
        names.append(_apart(label, names, chart))
    return tuple(names)


def _apart(label: Label, names: Sequence[Label], chart: Tradeoff) -> Label:
    """Return a name at the free place that is nearest to its own; there if none is free."""
    line = _LABEL_HEIGHT + 2
    heights = [name.y - line for name in names] + [name.y + line for name in names]
    inside = [y for y in heights if chart.top <= y <= chart.bottom - 6]
    for y in (label.y, *sorted(inside, key=lambda y: abs(y - label.y))):
        place = label._replace(y=y)
        if not any(_overlap(place, name) for name in names):
            return place
    return label


def _overlap(first: Label, second: Label) -> bool:
    """Tell whether two names would be written over each other."""
    if abs(first.y - second.y) >= _LABEL_HEIGHT:
        return False
    left, right = sorted((first, second), key=_left)
    return _left(right) < _left(left) + _width(left.text)


def _left(label: Label) -> float:
    return label.x if label.anchor == "start" else label.x - _width(label.text)


def _width(text: str) -> float:
    """Return the width of a text in the letters of a phone."""
    return _LETTER_WIDTH * len(text)


def _scale(
    curve: Sequence[tuple[float, float]], marks: Sequence[Mark]
) -> tuple[float, float]:
    """Return the error at the top of a chart, and the distance of its grid lines."""
    # Below a fifth errors explode; they would press the useful part of the curve to the bottom.
    errors = [error for keep, error in curve if keep >= 0.2]
    errors += [mark.error for mark in marks]
    largest = min(max(errors, default=0.0) or 0.1, 1.0)
    step = _step(largest / 4)
    highest = step * max(1, math.ceil(largest / step - 1e-9))
    if curve and max(error for _, error in curve) > highest:
        highest = max(highest, min(0.6, step * math.ceil(0.6 / step - 1e-9)))
        step = _step(highest / 4)
    return highest, step


def _step(rough: float) -> float:
    """Return a distance of grid lines: `rough`, rounded up to 1, 2 or 5 times a power of ten."""
    scale = 10.0 ** math.floor(math.log10(max(rough, 1e-6)))
    return scale * next(
        nice for nice in (1, 2, 5, 10) if nice * scale >= rough * (1 - 1e-9)
    )


class Column(NamedTuple):
    """The column of one layer: its place, and its height before and after."""

    x: float
    width: float
    before: float
    after: float


LAYERS_WIDTH, LAYERS_HEIGHT = 1160, 140


def columns(layers: Sequence[tuple[int, int]]) -> tuple[Column, ...]:
    """Return the chart of MACs before and after, in the order of the model.

    >>> columns([(100, 40), (50, 50)])[0]
    Column(x=0.0, width=92.8, before=140.0, after=56.0)
    """
    highest = max((before for before, _ in layers), default=0) or 1
    pitch = LAYERS_WIDTH / max(len(layers), 10)
    return tuple(
        Column(
            round(index * pitch, 1),
            round(pitch * 0.8, 2),
            round(LAYERS_HEIGHT * before / highest, 1),
            round(LAYERS_HEIGHT * after / highest, 1),
        )
        for index, (before, after) in enumerate(layers)
    )
