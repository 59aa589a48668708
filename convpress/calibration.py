"""How a job learns what a model's inputs are like, and what the user says of their values."""

from dataclasses import dataclass
from typing import Literal, cast, get_args

from convpress.refusal import Code, Refusal

FIELD, RANGE, MEAN, DEVIATION = "calibration", "input_range", "input_mean", "input_std"

Calibration = Literal["synthetic", "none", "samples"]
"""Inputs that the service makes itself; none at all, so that the weights count alone; or real ones that were sent."""

EXPECTED = " or ".join(get_args(Calibration))
EXPECTED_RANGE = "LOW,HIGH with LOW below HIGH (0,255)"
EXPECTED_NUMBERS = "one number, or one for each channel with commas between (0.485,0.456,0.406)"

_LARGEST, _LEAST = 1e9, 1e-9
_LONGEST = 2000


@dataclass(frozen=True)
class InputValues:
    """What inputs' values are, as the user told it: between two limits, or with a mean and a deviation a channel.

    A mean and a deviation are those by which images of values 0 to 1 were standardised.
    """

    limits: tuple[float, float] | None
    mean: tuple[float, ...] | None
    deviation: tuple[float, ...] | None


def parse_calibration(text: str | None) -> Calibration | None:
    """Read the field `calibration`; None where it is left out.

    Raises:
        Refusal: `calibration_invalid`.
    """
    if not text:
        return None
    if text not in get_args(Calibration):
        raise Refusal(
            Code.CALIBRATION_INVALID,
            "there is no such calibration",
            field=FIELD,
            expected=EXPECTED,
            got=text[:80],
        )
    return cast(Calibration, text)


def choose_calibration(asked: Calibration | None, *, samples: bool) -> Calibration:
    """Return the calibration that is asked for: where nothing is said, `samples` where there are some.

    Raises:
        Refusal: `calibration_invalid` where one is asked for that does not go with samples, or without.

    >>> choose_calibration(None, samples=True), choose_calibration(None, samples=False)
    ('samples', 'synthetic')
    """
    if asked is None:
        return "samples" if samples else "synthetic"
    if (asked == "samples") != samples:
        raise Refusal(
            Code.CALIBRATION_INVALID,
            "samples are given, which another calibration has no use for"
            if samples
            else "there are no samples",
            field=FIELD,
            expected="samples" if samples else "a file in the field samples",
            got=asked,
        )
    return asked


def parse_input_values(
    limits: str | None, mean: str | None, deviation: str | None
) -> InputValues | None:
    """Read `input_range`, `input_mean` and `input_std`: numbers with commas between; None where all are missing.

    Raises:
        Refusal: `input_range_invalid`, with the field.

    >>> parse_input_values("-1,1", None, None)
    InputValues(limits=(-1.0, 1.0), mean=None, deviation=None)
    >>> parse_input_values(None, "0.485,0.456,0.406", "0.229,0.224,0.225").mean
    (0.485, 0.456, 0.406)
    """
    require_range_or_moments(limits, mean, deviation)
    if not (limits or mean or deviation):
        return None
    return InputValues(
        parse_range(limits) if limits else None,
        parse_mean(mean) if mean else None,
        parse_deviation(deviation) if deviation else None,
    )


def require_range_or_moments(limits: str | None, mean: str | None, deviation: str | None) -> None:
    """Check that a range does not come together with a mean or a deviation.

    Raises:
        Refusal: `input_range_invalid`.
    """
    if limits and (mean or deviation):
        raise _wrong(RANGE, "a range, or a mean and a deviation, not both", limits)


def parse_range(text: str) -> tuple[float, float]:
    """Read the field `input_range` by itself.

    Raises:
        Refusal: `input_range_invalid`.
    """
    numbers = _numbers(RANGE, EXPECTED_RANGE, text)
    if len(numbers) != 2 or numbers[1] - numbers[0] < _LEAST:
        raise _wrong(RANGE, EXPECTED_RANGE, text)
    return numbers[0], numbers[1]


def parse_mean(text: str) -> tuple[float, ...]:
    """Read the field `input_mean` by itself.

    Raises:
        Refusal: `input_range_invalid`.
    """
    return _numbers(MEAN, EXPECTED_NUMBERS, text)


def parse_deviation(text: str) -> tuple[float, ...]:
    """Read the field `input_std` by itself.

    Raises:
        Refusal: `input_range_invalid`.
    """
    numbers = _numbers(DEVIATION, EXPECTED_NUMBERS, text)
    if min(numbers) < _LEAST:
        raise _wrong(DEVIATION, f"{EXPECTED_NUMBERS}, each above 0", text)
    return numbers


def _numbers(field: str, expected: str, text: str) -> tuple[float, ...]:
    if len(text) > _LONGEST:
        raise _wrong(field, f"at most {_LONGEST} characters", text)
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise _wrong(field, expected, text) from None
    if not all(abs(number) <= _LARGEST for number in numbers):  # nor is NaN
        raise _wrong(field, f"{expected}, none beyond {_LARGEST:.0f}", text)
    return numbers


def _wrong(field: str, expected: str, got: str) -> Refusal:
    detail = "what the model's input values are like cannot be read"
    return Refusal(Code.INPUT_RANGE_INVALID, detail, field=field, expected=expected, got=got[:80])
