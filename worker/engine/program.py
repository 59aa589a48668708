"""A model as a list of steps on torch tensors: calibration runs, observes and differentiates them.

A runner runs a whole model, from its file, as production does. A program is the same arithmetic
taken apart, so that every step's inputs can be measured, replaced or kept; each format reads its
own models into one. Stored half-precision weights are computed with as float32.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

from torch import OutOfMemoryError, Tensor

_LONGEST_MESSAGE = 300

Values = Mapping[str, Any]
"""Values by name: tensors mostly, sizes and lists of either in between."""


class NoProgramError(Exception):
    """The model cannot be taken apart; the message gives the reason, for the report."""


class StepError(Exception):
    """A step does not run on its inputs; the message names the operator and its error."""


@dataclass(frozen=True)
class Norm:
    """Normalisation by stored statistics along axis 1.

    It is `(x - mean) / sqrt(variance + epsilon) * weight + bias`; all tensors are `(channels,)`.
    """

    mean: Tensor
    variance: Tensor
    weight: Tensor | None
    bias: Tensor | None
    epsilon: float


@dataclass(frozen=True)
class Step:
    """One operator: `run` takes the values named in `takes`, and returns those named in `gives`.

    Both are in order. `run` never writes into its inputs, and torch can differentiate it where the
    operator itself is differentiable. `site` is the name of the `Site` that this step is a call of:
    it then takes that site's input as its only value and returns its output, bias included. `norm`
    is set where the step normalises by stored statistics: it then takes the data as its only value.
    """

    op: str
    takes: tuple[str, ...]
    gives: tuple[str, ...]
    run: Callable[..., Sequence[Any]]
    site: str | None = None
    norm: Norm | None = None


@dataclass(frozen=True)
class Program:
    """Steps in the order in which they run, with the names of inputs and outputs.

    `inputs` are the model's own names, in order; `outputs` are value names, in the order of the
    model's outputs. Values that depend on no input are computed once, when the program is read, and
    are in `constants`. `also_read` are values that the model itself reads where no output needs it:
    in checks that raise, layers without effect, and its own buffers.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    constants: Values
    steps: tuple[Step, ...]
    also_read: frozenset[str] = frozenset()

    @property
    def normalises(self) -> bool:
        """Whether there are layers that normalise by stored statistics."""
        return any(step.norm is not None for step in self.steps)

    @cached_property
    def last_uses(self) -> tuple[tuple[str, ...], ...]:
        """The values that are needed no more after each step; constants and outputs stay."""
        last: dict[str, int] = {}
        for position, step in enumerate(self.steps):
            values = (*step.gives, *step.takes)
            for name in values:
                last[name] = position
        staying = {*self.outputs, *self.constants}
        names_of: list[list[str]] = [[] for _ in self.steps]
        for name, position in last.items():
            if name not in staying:
                names_of[position].append(name)
        tuples = [tuple(names) for names in names_of]
        return tuple(tuples)


Replacements = Mapping[str, Callable[[Tensor], Tensor]]
"""The computations in place of sites, by the site's name."""

Watch = Callable[[Step, Sequence[Any]], None]
"""Receives a step and its inputs."""


def compute(step: Step, inputs: Sequence[Any]) -> Sequence[Any]:
    """Return the outputs of a step.

    Raises:
        StepError: for every error of its operator: models are untrusted, and so is their behaviour
            on inputs that nobody has chosen.
        MemoryError: there is not enough memory, on the processor or on a device.
    """
    try:
        return step.run(*inputs)
    except MemoryError:
        raise
    # torch's error for a device's memory is no MemoryError
    except OutOfMemoryError as error:
        raise MemoryError(str(error)) from error
    except Exception as error:
        first_line = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise StepError(f"{step.op} says: {first_line[:_LONGEST_MESSAGE]}") from error


def run(
    program: Program,
    inputs: Mapping[str, Tensor],
    replacements: Replacements = MappingProxyType({}),
    watch: Watch | None = None,
) -> tuple[Any, ...]:
    """Run a program, with some of its sites replaced, and return its outputs.

    Each value is dropped after its last use. `watch` receives every step and its inputs before it
    runs.

    Raises:
        StepError: it does not run on these inputs.
    """
    return resume(program, {**program.constants, **inputs}, 0, replacements, watch)


def resume(
    program: Program,
    live: Values,
    start: int,
    replacements: Replacements = MappingProxyType({}),
    watch: Watch | None = None,
) -> tuple[Any, ...]:
    """Run a program from the step at position `start` on, as `run` does.

    `live` are all values that the remaining steps take, constants among them.

    Raises:
        StepError: it does not run on these values.
    """
    values: dict[str, Any] = dict(live)
    remaining = program.steps[start:]
    for step, unneeded in zip(remaining, program.last_uses[start:], strict=True):
        values.update(
            zip(step.gives, _outputs(step, values, replacements, watch), strict=True)
        )
        # the values of all steps together would take many times the model's memory
        for name in unneeded:
            del values[name]
    return tuple(values[name] for name in program.outputs)


def _outputs(
    step: Step, values: Values, replacements: Replacements, watch: Watch | None
) -> Sequence[Any]:
    """Return the outputs of a step, or those of the computation in place of its site."""
    inputs = [values[name] for name in step.takes]
    if watch is not None:
        watch(step, inputs)
    replacement = None if step.site is None else replacements.get(step.site)
    if replacement is None:
        return compute(step, inputs)
    return (replacement(inputs[0]),)
