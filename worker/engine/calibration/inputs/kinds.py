"""The kinds of inputs that a model is calibrated on and judged by, by the shapes of its inputs.

Inputs with the shape of photographs get crops of photographs. Other shapes are those of sounds and
of signals of sensors, or of nothing in particular: these get synthetic shapes of any number of
channels and axes. Small grey images are of digits and characters more often than of scenes, and get
synthetic shapes too. Where a shape may be of several kinds and the model stores statistics, the
likeliest kind gives way to one whose statistics are far nearer to these.

Towards stored statistics images are distilled better from synthetic shapes than from photographs.
Every second image to judge by is a crop of a photograph that nothing is fitted on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from convpress.calibration import InputValues
from worker.engine.calibration.harness import Harness
from worker.engine.calibration.inputs.dead_leaves import dead_leaves
from worker.engine.calibration.inputs.generators import (
    Generator,
    Images,
    Size,
    softened,
)
from worker.engine.calibration.inputs.model_inputs import ImageInput
from worker.engine.calibration.inputs.mosaics import mosaics
from worker.engine.calibration.inputs.objects import with_objects
from worker.engine.calibration.inputs.photographs import (
    Scenes,
    is_photograph_shape,
    photographs,
)
from worker.engine.calibration.inputs.probing import Trials, least_mismatch
from worker.engine.calibration.inputs.ranges import (
    ValueRange,
    known_ranges,
    stated_range,
)
from worker.engine.calibration.inputs.sensors.kinds import SHAPES, Kind, kinds_of_shape

# The shorter side of grey images that are taken for scenes.
_SMALLEST_GREY_SCENE = 32
# The mismatch with the stored statistics, over that of the likeliest kind by the shape, from which
# on another kind is taken. Distilling makes up for smaller differences.
_FAR_NEARER = 0.75

_Shape = tuple[int, tuple[int, ...]]
"""Channels and size of images."""


@dataclass(frozen=True)
class Kinds:
    """The generators of the images to fit on, of those to judge by, and of those to try ranges on.

    `ranges` are the usual ranges of values of the first input's kind. `report_members` name the
    kinds, with the reason. `notes` say which photographs cannot be used.
    """

    fitting: Generator
    judging: Generator
    probing: Generator
    ranges: tuple[ValueRange, ...]
    report_members: Mapping[str, Any]
    notes: Sequence[str] = ()


def choose_kinds(
    harness: Harness, scenes: Scenes, stated: InputValues | None = None, probes: int = 0
) -> Kinds:
    """Return the kinds of images for a model.

    `stated` is the range of values that the user stated. `probes` images of each kind are tried
    where several fit.
    """
    normalises = harness.program.normalises
    reasons: dict[str, None] = {}
    kinds: dict[_Shape, Kind] = {}
    has_scenes = False
    for image in harness.images:
        if _takes_scenes(image):
            has_scenes = True
            kind, reason = _crops(scenes, normalises=normalises)
        else:
            kind, reason = _other_kind(harness, image, stated, probes)
        kinds[image.channels, image.size] = kind
        reasons[f"{kind.name}, {reason}"] = None
    members: dict[str, Any] = {"images_from": "; ".join(reasons)}
    if has_scenes:
        fitting = 0 if normalises else len(scenes.fitting)
        members["photographs"] = fitting + len(scenes.judging)
        members["photographs_mounted"] = scenes.mounted
    first, *_ = harness.images
    judging = {shape: kind.judging for shape, kind in kinds.items()}
    probing = {shape: kind.probing for shape, kind in kinds.items()}
    first_kind = kinds[first.channels, first.size]
    ranges = _usual_ranges(first_kind, first.channels)
    return Kinds(
        fitting=_by_shape({shape: kind.fitting for shape, kind in kinds.items()}),
        judging=_by_shape(judging),
        probing=_by_shape(probing),
        ranges=ranges,
        report_members=members,
        notes=scenes.notes if has_scenes else (),
    )


def showing_objects(harness: Harness, kinds: Kinds) -> Kinds:
    """Return the kinds with text, faces and things drawn into every second photograph.

    For models whose outputs say little without them. Inputs of other kinds stay as they are.
    """
    shapes = {
        (image.channels, image.size) for image in harness.images if _takes_scenes(image)
    }
    if not shapes:
        return kinds

    def drawn(generator: Generator) -> Generator:
        shown = alternating(with_objects(generator), generator)
        return _by_shape(dict.fromkeys(shapes, shown), generator)

    reason = (
        "text, faces and things are drawn into half of them: its outputs vary little"
    )
    members = dict(kinds.report_members)
    members["images_from"] = f"{members['images_from']}; {reason}"
    return replace(
        kinds,
        fitting=drawn(kinds.fitting),
        judging=drawn(kinds.judging),
        report_members=members,
    )


def alternating(first: Generator, second: Generator) -> Generator:
    """Return a generator of images of two kinds in turn.

    >>> zeros = lambda count, channels, size, seed: np.zeros((count, channels, *size), np.float32)
    >>> ones = lambda count, channels, size, seed: np.ones((count, channels, *size), np.float32)
    >>> alternating(zeros, ones)(3, 1, (), 0)[:, 0].tolist()
    [0.0, 1.0, 0.0]
    """

    def generate(count: int, channels: int, size: Size, seed: int) -> Images:
        images = np.empty((count, channels, *size), np.float32)
        half = count // 2
        images[::2] = first(count - half, channels, size, seed)
        images[1::2] = second(half, channels, size, seed)
        return images

    return generate


def _takes_scenes(image: ImageInput) -> bool:
    """Whether an input gets photographs."""
    is_small = image.channels == 1 and min(image.size, default=0) < _SMALLEST_GREY_SCENE
    return is_photograph_shape(image.channels, image.size) and not is_small


def _crops(scenes: Scenes, *, normalises: bool) -> tuple[Kind, str]:
    """Return the kind of inputs with the shape of photographs, with the reason."""
    judging = alternating(mosaics, photographs(scenes.judging))
    if normalises:
        reason = (
            "since the model stores statistics; "
            "half of those to judge by are crops of photographs"
        )
        return replace(SHAPES, name="synthetic images", judging=judging), reason
    kind = Kind(
        "crops of photographs", photographs(scenes.fitting), judging, dead_leaves
    )
    return _with_soft_edges(kind), "since the inputs have their shape"


def _other_kind(
    harness: Harness, image: ImageInput, stated: InputValues | None, probes: int
) -> tuple[Kind, str]:
    """Return the kind of an input that is no photograph, with the reason."""
    kinds = kinds_of_shape(image.channels, image.size)
    if image.rows is not None or image.is_whole:
        kinds = (SHAPES,)
    if kinds == (SHAPES,):
        kind = replace(SHAPES, name="synthetic images")
        reason = "since no input has the shape of photographs"
        return (kind if harness.program.normalises else _with_soft_edges(kind)), reason
    is_unclear = not harness.program.normalises or len(harness.images) > 1
    if is_unclear:
        return _soft_shapes(kinds[0]), "by the shape of the input"
    mismatches: dict[Kind, float] = {}
    for kind in kinds:
        ranges = _usual_ranges(kind, image.channels)
        if stated is not None:
            ranges = (stated_range(stated, image.channels),)
        trials = Trials(kind.probing, ranges, probes)
        mismatches[kind] = least_mismatch(harness, trials)
    described = [f"{kind.name} {mismatches[kind]:.2f}" for kind in kinds]
    distances = ", ".join(described)
    likeliest = kinds[0]
    nearest = min(mismatches, key=mismatches.__getitem__)
    most = _FAR_NEARER * mismatches[likeliest]
    if mismatches[nearest] > most:
        reason = "by the shape of the input; no other kind is far nearer to the stored statistics"
        return likeliest, f"{reason} ({distances})"
    return (
        nearest,
        f"whose statistics are far nearer to those that the model stores ({distances})",
    )


def _soft_shapes(kind: Kind) -> Kind:
    """Return a kind of inputs of a model that stores no statistics."""
    if kind is SHAPES:
        return _with_soft_edges(kind)
    return kind


def _with_soft_edges(kind: Kind) -> Kind:
    """Return a kind of images half of which have soft edges.

    Images that will be distilled towards stored statistics get none.
    """
    return replace(
        kind,
        fitting=softened(kind.fitting),
        judging=softened(kind.judging),
        probing=softened(kind.probing),
    )


def _usual_ranges(kind: Kind, channels: int) -> tuple[ValueRange, ...]:
    """Return the usual ranges of values of a kind of inputs."""
    return (*kind.ranges, *known_ranges(channels))


def _by_shape(
    generators: Mapping[_Shape, Generator], other: Generator = dead_leaves
) -> Generator:
    """Return a generator that makes images of each shape by the generator of that shape.

    Images of all other shapes are made by `other`.
    """

    def generate(count: int, channels: int, size: Size, seed: int) -> Images:
        generator = generators.get((channels, tuple(size)), other)
        return generator(count, channels, size, seed)

    return generate
