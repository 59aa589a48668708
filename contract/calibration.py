"""How a job learns what a model's inputs are like, and what the user says of their values."""

import math
from dataclasses import dataclass
from typing import Literal, cast, get_args

from contract.refusal import Code, Refusal

Calibration = Literal["synthetic", "none"]
"""Inputs that the service makes itself, or none at all: then the weights count alone."""


@dataclass(frozen=True)
class InputValues:
    """What inputs' values are, as the user told it: between two limits, or with a mean and a deviation a channel.

    A mean and a deviation are those by which images of values 0 to 1 were standardised.
    """

    limits: tuple[float, float] | None
    mean: tuple[float, ...] | None
    deviation: tuple[float, ...] | None


def parse_calibration(text: str | None) -> Calibration:
    """Read the field `calibration`; `synthetic` where it is left out.

    Raises:
        Refusal: `calibration_invalid`.
    """
    if text is None:
        return "synthetic"
    if text not in get_args(Calibration):
        raise Refusal(
            Code.CALIBRATION_INVALID,
            "there is no such calibration",
            field="calibration",
            expected=" or ".join(get_args(Calibration)),
            got=text[:80],
        )
    return cast(Calibration, text)


def parse_input_values(limits: str | None, mean: str | None, deviation: str | None) -> InputValues | None:
    """Read `input_range`, `input_mean` and `input_std`: numbers with commas between; None where all are missing.

    Raises:
        Refusal: `input_range_invalid`, with the field.

    >>> parse_input_values("-1,1", None, None)
    InputValues(limits=(-1.0, 1.0), mean=None, deviation=None)
    >>> parse_input_values(None, "0.485,0.456,0.406", "0.229,0.224,0.225").mean
    (0.485, 0.456, 0.406)
    """
    if limits is None and mean is None and deviation is None:
        return None
    if limits is not None and (mean is not None or deviation is not None):
        raise _wrong("input_range", "a range, or a mean and a deviation, not both", limits)
    pair: tuple[float, float] | None = None
    if limits is not None:
        numbers = _numbers("input_range", limits)
        if len(numbers) != 2 or not numbers[0] < numbers[1]:
            raise _wrong("input_range", "LOW,HIGH with LOW below HIGH", limits)
        pair = (numbers[0], numbers[1])
    deviations = None if deviation is None else _numbers("input_std", deviation)
    if deviations is not None and min(deviations) <= 0:
        raise _wrong("input_std", "numbers above 0", deviation)
    return InputValues(pair, None if mean is None else _numbers("input_mean", mean), deviations)


def _numbers(field: str, text: str) -> tuple[float, ...]:
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise _wrong(field, "numbers with commas between", text) from None
    if not all(math.isfinite(number) for number in numbers):
        raise _wrong(field, "finite numbers", text)
    return numbers


def _wrong(field: str, expected: str, got: str | None) -> Refusal:
    detail = "what the model's input values are like cannot be read"
    return Refusal(Code.INPUT_RANGE_INVALID, detail, field=field, expected=expected, got=(got or "")[:80])
