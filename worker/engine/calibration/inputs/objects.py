"""Text, faces and things drawn into images: what detectors look for.

On images without such shapes the outputs of a detector say little. These drawings are no real text,
faces or things, but they have their parts: strokes of letters in lines, two eyes above a mouth in
an oval, and shaded boxes and balls with parts of other colours.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from worker.engine.calibration.inputs.generators import Generator, Images, Random, Size

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_LONGEST_WORD = 9
_MOST_LINES = 5
_MOST_FACES = 3
_MOST_THINGS = 4
# Letters of fewer pixels have no strokes.
_SMALLEST_LETTER = 8
_WHITE = 255

_Colour = tuple[int, int, int]

_SKIN: _Colour = (235, 190, 160)
_HAIR: _Colour = (60, 40, 30)
_EYE: _Colour = (240, 240, 240)
_LIPS: _Colour = (200, 90, 90)


def with_objects(generator: Generator) -> Generator:
    """Return a generator of the same images with text, faces or things drawn into them, in turn.

    Images have one channel or three and two axes.

    >>> grey = lambda count, channels, size, seed: np.zeros((count, channels, *size), np.float32)
    >>> images = with_objects(grey)(3, 3, (64, 64), 0)
    >>> images.shape, [bool(image.any()) for image in images]
    ((3, 3, 64, 64), [True, True, True])
    """

    def generate(count: int, channels: int, size: Size, seed: int) -> Images:
        images = generator(count, channels, size, seed)
        rng = np.random.default_rng((seed, 10))
        drawings = (_draw_text, _draw_faces, _draw_things)
        for at, image in enumerate(images):
            clipped = np.clip(image, 0, 1)
            pixels = clipped * _WHITE
            with_three = np.broadcast_to(pixels, (3, *size))
            colours = with_three.transpose(1, 2, 0)
            whole = np.rint(colours)
            rounded = whole.astype(np.uint8)
            canvas = Image.fromarray(rounded, "RGB")
            draw = drawings[at % len(drawings)]
            draw(canvas, rng)
            shown = canvas.convert("L") if channels == 1 else canvas
            shades = np.asarray(shown, np.float32)
            channels_last = shades.reshape(*size, channels)
            values = channels_last / _WHITE
            image[:] = values.transpose(2, 0, 1)
        return images

    return generate


def _draw_text(canvas: Image.Image, rng: Random) -> None:
    """Draw lines of words, dark on light or light on dark, each of another size."""
    draw = ImageDraw.Draw(canvas)
    lines = int(rng.integers(1, _MOST_LINES + 1))
    for _ in range(lines):
        quarter = canvas.height // 4
        largest = max(_SMALLEST_LETTER + 1, quarter)
        least_log = np.log(_SMALLEST_LETTER)
        most_log = np.log(largest)
        log_height = rng.uniform(least_log, most_log)
        height = float(np.exp(log_height))
        font = ImageFont.load_default(height)
        count = int(rng.integers(1, 4))
        words = [_word(rng) for _ in range(count)]
        left = rng.uniform(0, 0.6) * canvas.width
        top = rng.uniform(0, 0.9) * canvas.height
        place = (left, top)
        text = " ".join(words)
        ink, paper = _contrast(rng)
        if rng.random() < 0.5:
            box = draw.textbbox(place, text, font)
            draw.rectangle(box, fill=paper)
        draw.text(place, text, ink, font)


def _word(rng: Random) -> str:
    """Return a word of random letters."""
    letters = rng.choice(list(_LETTERS), int(rng.integers(2, _LONGEST_WORD + 1)))
    return "".join(letters)


def _draw_faces(canvas: Image.Image, rng: Random) -> None:
    """Draw ovals with hair, two eyes, a nose and a mouth."""
    draw = ImageDraw.Draw(canvas)
    faces = int(rng.integers(1, _MOST_FACES + 1))
    for _ in range(faces):
        height = canvas.height * rng.uniform(0.3, 0.9)
        width = height * rng.uniform(0.65, 0.85)
        room_across = canvas.width - width
        left = rng.uniform(-0.2, 1) * room_across
        room_down = canvas.height - height
        top = rng.uniform(-0.2, 1) * room_down
        skin_shade = rng.uniform(0.3, 1)
        skin = _shaded(_SKIN, skin_shade)
        hair_shade = rng.uniform(0.3, 2)
        dark = _shaded(_HAIR, hair_shade)
        shadow = _shaded(skin, 0.75)
        tilt = rng.normal(0, 0.05)
        right_eye = 0.42 - tilt
        left_eye = 0.42 + tilt
        lip_shade = rng.uniform(0.4, 1)
        parts = (
            (0.5, 0.35, 1.1, 0.8, dark),
            (0.5, 0.52, 0.9, 0.95, skin),
            (0.3, left_eye, 0.2, 0.09, _EYE),
            (0.7, right_eye, 0.2, 0.09, _EYE),
            (0.3, left_eye, 0.08, 0.08, dark),
            (0.7, right_eye, 0.08, 0.08, dark),
            (0.5, 0.58, 0.12, 0.2, shadow),
            (0.5, 0.77, 0.36, 0.1, _shaded(_LIPS, lip_shade)),
        )
        for x, y, wide, tall, colour in parts:
            centre_x, centre_y = left + x * width, top + y * height
            half_x, half_y = wide * width / 2, tall * height / 2
            corners = (
                centre_x - half_x,
                centre_y - half_y,
                centre_x + half_x,
                centre_y + half_y,
            )
            draw.ellipse(corners, fill=colour)


def _draw_things(canvas: Image.Image, rng: Random) -> None:
    """Draw boxes and balls on legs or wheels, with windows of another colour."""
    draw = ImageDraw.Draw(canvas)
    things = int(rng.integers(1, _MOST_THINGS + 1))
    for _ in range(things):
        canvas_size = (canvas.width, canvas.height)
        shares = rng.uniform(0.15, 0.6, 2)
        width, height = shares * canvas_size
        room_across = canvas.width - width
        left = rng.uniform(0, 1) * room_across
        room_down = canvas.height - height
        top = rng.uniform(0, 1) * room_down
        bottom = top + 0.8 * height
        body = (left, top, left + width, bottom)
        colour, other = _contrast(rng)
        outline = draw.ellipse if rng.random() < 0.5 else draw.rectangle
        shaded = _shaded(colour, 0.5)
        outline(body, fill=colour, outline=shaded)
        for share in (0.2, 0.7):
            x = left + share * width
            right = x + 0.2 * width
            wheel = (x, top + 0.7 * height, right, top + height)
            draw.ellipse(wheel, fill=other)
            window = (x, top + 0.2 * height, right, top + 0.4 * height)
            draw.rectangle(window, fill=other)


def _contrast(rng: Random) -> tuple[_Colour, _Colour]:
    """Return a dark and a light colour, in either order."""
    dark = _colour(rng.uniform(0, 90, 3))
    light = _colour(rng.uniform(150, _WHITE, 3))
    if rng.random() < 0.5:
        return (dark, light)
    return (light, dark)


def _shaded(colour: _Colour, brightness: float) -> _Colour:
    """Return a colour that is brighter or darker by a factor."""
    return _colour(np.array(colour) * brightness)


def _colour(values: NDArray[np.float64]) -> _Colour:
    """Return numbers as a colour."""
    red, green, blue = np.clip(values, 0, _WHITE).astype(int).tolist()
    return red, green, blue
