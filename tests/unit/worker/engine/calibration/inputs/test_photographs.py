"""Crops of photographs: parts of the scenes, in either order of colours, and the operator's own."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from worker.engine.calibration.inputs import photographs as module
from worker.engine.calibration.inputs.photographs import (
    is_photograph_shape,
    load_scenes,
    photographs,
)

FOLDER = Path(module.__file__).parent / "scenes"


def one_colour(red, green, blue, size=(200, 150)):
    return Image.new("RGB", size, (red, green, blue))


def test_a_crop_shows_the_scene_in_either_order_of_colours():
    images = photographs([one_colour(255, 51, 0)])(64, 3, (20, 30), 0)
    colours = {tuple(np.rint(255 * image[:, 5, 5]).tolist()) for image in images}
    assert colours == {(255, 51, 0), (0, 51, 255)}
    assert np.ptp(images, axis=(2, 3)).max() == 0


def test_one_channel_has_the_brightness():
    images = photographs([one_colour(255, 0, 0)])(2, 1, (20, 30), 0)
    assert images == pytest.approx(0.299, abs=0.003)


def test_a_crop_is_a_part_of_the_scene_and_not_distorted():
    """Red rises along the width and green along the height by the same amount a pixel."""
    across, down = np.meshgrid(np.arange(250), np.arange(200))
    pixels = np.stack([across, down, np.zeros_like(across)], axis=2)
    scene = Image.fromarray(pixels.astype(np.uint8))
    for image in photographs([scene])(16, 3, (64, 80), 0):
        red, green = image[0] + image[2], image[1]
        a_column = abs(np.diff(red[32, 20:60]).mean())
        a_row = np.diff(green[20:40, 40]).mean()
        assert a_column == pytest.approx(a_row, rel=0.05)
        # from the smallest crop of 96 pixels a side to the whole scene
        assert 95 / 255 / 64 < a_row < 201 / 255 / 64


def test_every_scene_gets_as_many_crops_and_a_seed_the_same_ones():
    scenes = [one_colour(level, level, level) for level in (10, 20, 30, 40)]
    images = photographs(scenes)(12, 1, (8, 8), 3)
    levels, counts = np.unique(np.round(255 * images[:, 0, 0, 0]), return_counts=True)
    assert (levels.tolist(), counts.tolist()) == ([10, 20, 30, 40], [3, 3, 3, 3])
    assert (photographs(scenes)(12, 1, (8, 8), 3) == images).all()
    assert not (photographs(scenes)(12, 1, (8, 8), 4) == images).all()


def test_scenes_to_judge_by_are_none_of_those_to_fit_on():
    scenes = load_scenes()
    files = len(list(FOLDER.glob("*.jpg")))
    assert len(scenes.fitting) + len(scenes.judging) == files
    assert len(scenes.judging) == -(-files // 4)
    fitted = {scene.tobytes() for scene in scenes.fitting}
    assert not fitted & {scene.tobytes() for scene in scenes.judging}


def test_every_photograph_has_a_source_and_a_free_licence_and_all_are_small():
    rows = re.findall(
        r"^\| (\S+\.jpg) \| (.+?) \| (.+?) \|",
        (FOLDER / "SOURCES.md").read_text(),
        re.M,
    )
    assert {name for name, _, _ in rows} == {path.name for path in FOLDER.glob("*.jpg")}
    assert {licence for _, _, licence in rows} <= {
        "CC0 1.0",
        "CC BY 2.0",
        "CC BY 4.0",
        "public domain",
    }
    assert all(author for _, author, _ in rows)
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 5_000_000


def test_the_operators_photographs_are_added_and_what_is_none_is_named(tmp_path):
    for name in "abcde":
        one_colour(9, 9, 9).save(tmp_path / f"{name}.png")
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    (tmp_path / "notes.txt").write_text(
        "left out in silence: no photograph by its name"
    )
    scenes, own = load_scenes(), load_scenes(tmp_path)
    assert own.mounted == 5
    assert len(own.judging) == len(scenes.judging) + 2
    assert len(own.fitting) == len(scenes.fitting) + 3
    [note] = own.notes
    assert note.startswith("the mounted photograph 'broken.jpg' cannot be read: ")


def test_a_folder_that_is_not_there_is_named(tmp_path):
    scenes = load_scenes(tmp_path / "missing")
    assert scenes.fitting
    assert scenes.notes == (
        "the folder of mounted photographs cannot be read: No such file or directory",
    )


@pytest.mark.parametrize("side", [40, 100])
def test_an_image_of_too_many_pixels_is_not_opened(tmp_path, monkeypatch, side):
    """Pillow warns of more pixels than its limit, and refuses more than twice as many."""
    bundled, own = tmp_path / "bundled", tmp_path / "own"
    bundled.mkdir()
    own.mkdir()
    one_colour(9, 9, 9, (side, side)).save(own / "bomb.png")
    monkeypatch.setattr(module, "_BUNDLED", bundled)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    scenes = load_scenes.__wrapped__(own)
    assert scenes.mounted == 0
    assert "decompression bomb" in scenes.notes[0]


@pytest.mark.parametrize(
    ("channels", "size", "fits"),
    [
        (3, (224, 224), True),
        (1, (28, 28), True),
        (3, (48, 192), True),
        (3, (48, 193), False),
        (1, (49, 10), False),
        (1, (80, 121), False),
        (4, (64, 64), False),
        (3, (64,), False),
        (1, (32, 32, 32), False),
        (3, (), False),
        (3, (15, 15), False),
    ],
)
def test_photographs_have_one_or_three_channels_and_two_axes(channels, size, fits):
    assert is_photograph_shape(channels, size) is fits
