"""The kinds of inputs that are no photographs, by their shapes."""

import pytest

from worker.engine.calibration.inputs.sensors.kinds import kinds_of_shape

SOUND, SHAPE = "synthetic sounds", "synthetic shapes"


@pytest.mark.parametrize(
    ("channels", "size", "likeliest"),
    [
        (1, (49, 10), "cepstral coefficients of " + SOUND),
        (1, (98, 40), "spectrograms of " + SOUND),
        (1, (64, 101), "spectrograms of " + SOUND),
        (1, (32, 320), SHAPE),
        (1, (28, 28), SHAPE),
        (1, (2, 64), SHAPE),
        (7, (64, 64), SHAPE),
        (1, (16_000,), SHAPE),
        (9, (128,), SHAPE),
        (80, (300,), "spectrograms of " + SOUND),
        (6, (10,), SHAPE),
        (40, (), SHAPE),
        (1, (8, 16, 16), SHAPE),
    ],
)
def test_the_likeliest_kind_of_a_shape(channels, size, likeliest):
    kinds = kinds_of_shape(channels, size)
    assert kinds[0].name == likeliest
    assert SHAPE in [kind.name for kind in kinds]
    for kind in kinds:
        for generator in (kind.fitting, kind.judging, kind.probing):
            assert generator(1, channels, size, 0).shape == (1, channels, *size)


def test_names_of_the_ranges_differ_from_the_usual_ones():
    [coefficients, *_] = kinds_of_shape(1, (49, 10))
    assert [values.name for values in coefficients.ranges] == [
        "coefficients of -120 to 30",
        "coefficients of -600 to 150",
    ]
