"""Crops of photographs: images with the shapes, the textures and the colours of real scenes.

The photographs are the public-domain and CC BY ones of the folder `scenes`, whose SOURCES.md names
their authors and licences, and those that the operator of a service has mounted. None of them is
from a user or a data set.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from worker.engine.calibration.inputs.generators import Generator, Images, Random, Size

Scene = Image.Image
"""A photograph in the mode RGB."""

_BUNDLED = Path(__file__).parent / "scenes"
_SUFFIXES = (".jpeg", ".jpg", ".png", ".webp")
# One scene in four is for judging alone.
_JUDGING_STEP = 4
# Pixels a side of a mounted photograph in memory: calibration runs on smaller images than this.
_LONGEST_SIDE = 1024
_MOST_FILES = 400
# A damaged file, and one that claims more pixels than a camera has.
_UNREADABLE = (
    OSError,
    SyntaxError,
    ValueError,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)
# Unreadable files that the report names, and the characters of such a note.
_MOST_NOTES = 8
_NOTE = 200
# Grey images and those of three colours are what networks for images take.
_PHOTOGRAPH_CHANNELS = (1, 3)
# Shorter sides are of spectrograms and of other tables of features.
_SHORTEST_SIDE = 16
# Signs and lines of text are the longest images that networks take.
_LONGEST_COLOUR_IMAGE = 4.0
# Long images of one channel are spectrograms more often than photographs.
_LONGEST_GREY_IMAGE = 1.5
# The shorter side of a crop, in the photograph's pixels: an object, up to the whole scene.
_SMALLEST_CROP = 96
_SMALLEST_SHARE = 0.25
# The same for images of fewer pixels, which show one object.
_SMALL_IMAGE = 64
_SMALLEST_CROP_OF_SMALL = 48


@dataclass(frozen=True)
class Scenes:
    """Photographs to fit on and others to judge by; `mounted` of them are the operator's own.

    `notes` name the operator's files that are no photographs.
    """

    fitting: tuple[Scene, ...]
    judging: tuple[Scene, ...]
    mounted: int = 0
    notes: tuple[str, ...] = ()


@cache
def load_scenes(mounted: Path | None = None) -> Scenes:
    """Return the photographs of the package, and those in the operator's folder."""
    bundled = [_scene(path) for path in _files(_BUNDLED)]
    own: list[Scene] = []
    notes: list[str] = []
    files: list[Path] = []
    if mounted is not None:
        try:
            files = _files(mounted)
        except OSError as error:
            notes.append(
                f"the folder of mounted photographs cannot be read: {error.strerror}"
            )
    for path in files:
        try:
            own.append(_scene(path))
        except _UNREADABLE as error:
            message = f"the mounted photograph {path.name!r} cannot be read: {error}"
            notes.append(message[:_NOTE])
    judging = bundled[::_JUDGING_STEP] + own[::_JUDGING_STEP]
    numbered = enumerate(bundled)
    fitting = [scene for at, scene in numbered if at % _JUDGING_STEP]
    numbered_own = enumerate(own)
    fitting += [scene for at, scene in numbered_own if at % _JUDGING_STEP]
    shown_notes = tuple(notes[:_MOST_NOTES])
    return Scenes(tuple(fitting), tuple(judging), len(own), shown_notes)


def is_photograph_shape(channels: int, size: Size) -> bool:
    """Whether an input of this many channels and this size takes photographs, as far as that tells.

    >>> is_photograph_shape(3, (224, 224)), is_photograph_shape(1, (49, 10))
    (True, False)
    """
    if channels not in _PHOTOGRAPH_CHANNELS or len(size) != 2:
        return False
    short, long = sorted(size)
    longest = _LONGEST_GREY_IMAGE if channels == 1 else _LONGEST_COLOUR_IMAGE
    return short >= _SHORTEST_SIDE and long / short <= longest


def photographs(scenes: Sequence[Scene]) -> Generator:
    """Return a generator of crops of scenes, for one or three channels and two axes.

    Scale and place of a crop are random, and so is whether it is mirrored and whether its colours
    are in the order of RGB or of BGR, since a model seldom tells which it expects. Each scene gets
    as many crops as any other.

    >>> images = photographs(load_scenes().fitting)(2, 3, (32, 40), 0)
    >>> images.shape, float(images.min()) >= 0, float(images.max()) <= 1
    ((2, 3, 32, 40), True, True)
    """

    def generate(count: int, channels: int, size: Size, seed: int) -> Images:
        rng = np.random.default_rng((seed, 3))
        images = np.empty((count, channels, *size), np.float32)
        order = rng.permutation(len(scenes))
        for at, image in enumerate(images):
            number = order[at % len(scenes)]
            scene = scenes[number]
            image[:] = _crop(scene, channels, size, rng)
        return images

    return generate


def _crop(scene: Scene, channels: int, size: Size, rng: Random) -> Images:
    """Return one crop `(channels, *size)` of values from 0 to 1."""
    height, width = size
    largest = min(scene.height, scene.width * height / width)
    smallest = max(_SMALLEST_CROP, _SMALLEST_SHARE * largest)
    if height < _SMALL_IMAGE:
        smallest = _SMALLEST_CROP_OF_SMALL
    smallest = min(smallest, largest)
    least_log = np.log(smallest)
    most_log = np.log(largest)
    log_height = rng.uniform(least_log, most_log)
    tall = float(np.exp(log_height))
    wide = min(tall * width / height, scene.width)
    top = rng.uniform(0, scene.height - tall)
    left = rng.uniform(0, scene.width - wide)
    right = left + wide
    bottom = top + tall
    box = (left, top, right, bottom)
    resized = scene.resize((width, height), Image.Resampling.BICUBIC, box=box)
    if channels == 1:
        resized = resized.convert("L")
    values = np.asarray(resized, np.float32)
    pixels: Images = values.reshape(height, width, channels)
    pixels = pixels / np.float32(255)
    if rng.random() < 0.5:
        pixels = pixels[:, ::-1]
    if rng.random() < 0.5:
        pixels = pixels[:, :, ::-1]
    return pixels.transpose(2, 0, 1)


def _files(folder: Path) -> list[Path]:
    """Return the photographs of a folder in the order of their names."""
    files = [
        path for path in sorted(folder.iterdir()) if path.suffix.lower() in _SUFFIXES
    ]
    return files[:_MOST_FILES]


def _scene(path: Path) -> Scene:
    """Return a photograph of at most `_LONGEST_SIDE` pixels a side."""
    with warnings.catch_warnings():
        # a file that claims far more pixels than a camera has is refused
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(path) as image:
            image.draft("RGB", (_LONGEST_SIDE, _LONGEST_SIDE))
            scene = image.convert("RGB")
    scene.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
    return scene
