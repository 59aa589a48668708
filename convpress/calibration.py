"""Calibration options: which inputs a job measures on, and the range of their values."""

from dataclasses import dataclass
from typing import Literal, cast, get_args

from convpress.refusal import Code, Refusal
from convpress.text.spelling import did_you_mean

FIELD, RANGE, MEAN, DEVIATION = "calibration", "input_range", "input_mean", "input_std"

Calibration = Literal["synthetic", "none", "samples"]
"""Inputs that the service makes; none, so that only weights count; or the user's real inputs."""

EXPECTED = " or ".join(get_args(Calibration))
EXPECTED_RANGE = "LOW,HIGH with LOW below HIGH (0,255)"
EXPECTED_NUMBERS = (
    "one number, or one for each channel with commas between (0.485,0.456,0.406)"
)

# Beyond these, single precision loses the values of the inputs.
_LARGEST, _LEAST = 1e9, 1e-9
# Enough for one number for each of some hundred channels.
_LONGEST_TEXT = 2000


@dataclass(frozen=True)
class InputValues:
    """The values of the inputs: between two limits, or standardised with a mean and a deviation.

    Mean and deviation are None exactly where there are limits. They have one number, or one for
    each channel, and refer to images of values 0 to 1.
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
            f"{text[:80]!r} is no calibration{did_you_mean(text, get_args(Calibration))}",
            field=FIELD,
            expected=EXPECTED,
            got=text[:80],
        )
    return cast(Calibration, text)


def choose_calibration(choice: Calibration | None, *, samples: bool) -> Calibration:
    """Return the calibration of a job: by default `samples` if there are samples, else `synthetic`.

    Raises:
        Refusal: `calibration_invalid` where calibration and samples contradict each other.

    >>> choose_calibration(None, samples=True), choose_calibration(None, samples=False)
    ('samples', 'synthetic')
    """
    if choice is None:
        return "samples" if samples else "synthetic"
    # Samples that a job ignored would mislead its owner about the result.
    if choice != "samples" and samples:
        raise _contradiction(
            "this calibration does not use the samples", "samples", choice
        )
    if choice == "samples" and not samples:
        raise _contradiction(
            "there are no samples", "a file in the field samples", choice
        )
    return choice


def parse_input_values(
    limits: str | None, mean: str | None, deviation: str | None
) -> InputValues | None:
    """Read `input_range`, `input_mean` and `input_std`, lists of numbers; None if all are empty.

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


def require_range_or_moments(
    limits: str | None, mean: str | None, deviation: str | None
) -> None:
    """Check that there is a range, or a mean with its deviation, or nothing.

    Raises:
        Refusal: `input_range_invalid`, with the field that is too many or missing.
    """
    if limits and (mean or deviation):
        raise _wrong(RANGE, "a range, or a mean and a deviation, not both", limits)
    if deviation and not mean:
        raise _alone(DEVIATION, deviation, missing=MEAN)
    if mean and not deviation:
        raise _alone(MEAN, mean, missing=DEVIATION)


def parse_range(text: str) -> tuple[float, float]:
    """Read the field `input_range`.

    Raises:
        Refusal: `input_range_invalid`.
    """
    numbers = _numbers(RANGE, EXPECTED_RANGE, text)
    if len(numbers) != 2 or numbers[1] - numbers[0] < _LEAST:
        raise _wrong(RANGE, EXPECTED_RANGE, text)
    return numbers[0], numbers[1]


def parse_mean(text: str) -> tuple[float, ...]:
    """Read the field `input_mean`.

    Raises:
        Refusal: `input_range_invalid`.
    """
    return _numbers(MEAN, EXPECTED_NUMBERS, text)


def parse_deviation(text: str) -> tuple[float, ...]:
    """Read the field `input_std`.

    Raises:
        Refusal: `input_range_invalid`.
    """
    numbers = _numbers(DEVIATION, EXPECTED_NUMBERS, text)
    if min(numbers) < _LEAST:
        raise _wrong(DEVIATION, f"{EXPECTED_NUMBERS}, each above 0", text)
    return numbers


def _numbers(field: str, expected: str, text: str) -> tuple[float, ...]:
    if len(text) > _LONGEST_TEXT:
        raise _wrong(field, f"at most {_LONGEST_TEXT} characters", text)
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise _wrong(field, expected, text) from None
    if not all(abs(number) <= _LARGEST for number in numbers):  # NaN fails too
        raise _wrong(field, f"{expected}, none beyond {_LARGEST:.0f}", text)
    return numbers


def _contradiction(detail: str, expected: str, got: str) -> Refusal:
    return Refusal(
        Code.CALIBRATION_INVALID, detail, field=FIELD, expected=expected, got=got
    )


def _alone(field: str, text: str, *, missing: str) -> Refusal:
    # A mean without its deviation would be a guess: a wrong range costs more than no range.
    return Refusal(
        Code.INPUT_RANGE_INVALID,
        f"{field} comes without {missing}",
        field=missing,
        expected=f"{missing} beside {field}; 0 and 1 for images that were not standardised",
        got=f"{field}={text[:60]} alone",
    )


def _wrong(field: str, expected: str, got: str) -> Refusal:
    detail = "the values of the model's inputs cannot be read"
    return Refusal(
        Code.INPUT_RANGE_INVALID, detail, field=field, expected=expected, got=got[:80]
    )
