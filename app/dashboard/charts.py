"""Charts as shapes to be drawn: data in, coordinates of an SVG out. Every chart stands beside a table of the same."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

WIDTH, HEIGHT = 1160, 340
_LEFT, _RIGHT, _TOP, _BOTTOM = 92, 26, 34, 48


class Tick(NamedTuple):
    """A grid line, where it is and what it says."""

    at: float
    label: str


class Dot(NamedTuple):
    """A point of a curve: where it is, and what it stands for."""

    x: float
    y: float
    keep: float
    error: float
    label: str
    href: str | None


class Mark(NamedTuple):
    """A result to be marked: the fraction of FLOPs that is kept, the outputs' error, a name, and where it leads."""

    keep: float
    error: float
    label: str
    href: str | None = None


@dataclass(frozen=True)
class Tradeoff:
    """Errors of the outputs against FLOPs kept: curves of what could be had, and marks of what was made."""

    path: str
    dots: tuple[Dot, ...]
    marks: tuple[Dot, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    width: float = WIDTH
    height: float = HEIGHT
    what: str = "FLOPs"
    left: float = _LEFT
    right: float = WIDTH - _RIGHT
    top: float = _TOP
    bottom: float = HEIGHT - _BOTTOM


def tradeoff(
    curve: Sequence[tuple[float, float]], marks: Sequence[Mark], what: str = "FLOPs"
) -> Tradeoff:
    """Lay out a trade-off; keeps are fractions of `what`, errors relative to the outputs' size.

    What lies above the top stays at its edge, which says so: outputs that are all wrong need no further scale.

    >>> tradeoff([(0.1, 3.0), (0.5, 0.1), (1.0, 0.0)], [Mark(0.5, 0.1, "this job")]).y_ticks[-1].label
    '≥ 60 %'
    """
    told = [error for keep, error in curve if keep >= 0.2] + [mark.error for mark in marks]
    step = _step(min(max(told, default=0.1), 1.0) / 4)
    highest = step * max(1, math.ceil(min(max(told, default=0.1), 1.0) / step - 1e-9))
    if curve and max(error for _, error in curve) > highest:
        highest = max(highest, min(0.6, step * math.ceil(0.6 / step - 1e-9)))
        step = _step(highest / 4)

    def place(keep: float, error: float, label: str = "", href: str | None = None) -> Dot:
        x = _LEFT + (WIDTH - _LEFT - _RIGHT) * keep
        y = HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * min(error / highest, 1.0)
        return Dot(round(x, 1), round(y, 1), keep, error, label, href)

    dots = tuple(place(keep, error) for keep, error in curve)
    path = "".join(f"{'L' if index else 'M'}{dot.x} {dot.y}" for index, dot in enumerate(dots))
    lines = round(highest / step)
    beyond = any(dot.error > highest for dot in (*dots, *(place(*mark) for mark in marks)))
    return Tradeoff(
        path,
        dots,
        tuple(place(*mark) for mark in marks),
        tuple(Tick(place(fifth / 5, 0).x, f"{20 * fifth} %") for fifth in range(6)),
        tuple(
            Tick(
                place(0, step * line).y,
                f"{'≥ ' if beyond and line == lines else ''}{100 * step * line:.3g} %",
            )
            for line in range(lines + 1)
        ),
        what=what,
    )


def _step(rough: float) -> float:
    """Round a distance of grid lines up to 1, 2 or 5 of a power of ten."""
    scale = 10.0 ** math.floor(math.log10(max(rough, 1e-6)))
    return scale * next(nice for nice in (1, 2, 5, 10) if nice * scale >= rough * (1 - 1e-9))


class Column(NamedTuple):
    """One layer: where its column stands, and how high before and after."""

    x: float
    width: float
    before: float
    after: float


LAYERS_HEIGHT = 140


def columns(layers: Sequence[tuple[int, int]]) -> tuple[Column, ...]:
    """Lay out MACs before and after, in the order of the model; the largest is as high as the chart.

    >>> columns([(100, 40), (50, 50)])[0]
    Column(x=0.0, width=92.8, before=140.0, after=56.0)
    """
    highest = max((before for before, _ in layers), default=0) or 1
    pitch = WIDTH / max(len(layers), 10)
    return tuple(
        Column(
            round(index * pitch, 1),
            round(pitch * 0.8, 2),
            round(LAYERS_HEIGHT * before / highest, 1),
            round(LAYERS_HEIGHT * after / highest, 1),
        )
        for index, (before, after) in enumerate(layers)
    )
