"""A model as a list of steps on torch tensors: what calibration runs, looks into, and differentiates.

A runner runs a whole model, from its file, as production does. A program is the same arithmetic taken apart, so that
every step's inputs can be measured, replaced or kept; each format reads its own models into one. Stored half-precision
weights are computed with as float32.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

from torch import OutOfMemoryError, Tensor

_MOST_SAID = 300

Values = Mapping[str, Any]
"""What steps take and give, by name: tensors mostly, sizes and lists of either in between."""


class NoProgramError(Exception):
    """The model cannot be taken apart; the message says, in words for the report, what stands in the way."""


class StepError(Exception):
    """A step does not run on what it is given; the message says which, and what its operator says of it."""


@dataclass(frozen=True)
class Norm:
    """Normalisation by stored statistics, `(x - mean) / sqrt(variance + epsilon) * weight + bias`, along axis 1.

    All tensors have the shape `(channels,)`.
    """

    mean: Tensor
    variance: Tensor
    weight: Tensor | None
    bias: Tensor | None
    epsilon: float


@dataclass(frozen=True)
class Step:
    """One operator: `run` takes the values called `takes`, in order, and returns those called `gives`, in order.

    `run` never writes into what it takes, and torch can differentiate it where the operator itself is differentiable.
    `site` is the name of the `Site` that this step is a call of: it then takes that site's input as its only value and
    gives its output, bias included. `norm` is set where the step normalises by stored statistics: it then takes the
    data as its only value.
    """

    op: str
    takes: tuple[str, ...]
    gives: tuple[str, ...]
    run: Callable[..., Sequence[Any]]
    site: str | None = None
    norm: Norm | None = None


@dataclass(frozen=True)
class Program:
    """Steps in the order in which they run, and how the values that go in and come out are called.

    `inputs` are the model's own names, in order; `outputs` are value names, in the order of the model's outputs. What
    depends on no input is computed once, when the program is read, and lies in `constants`.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    constants: Values
    steps: tuple[Step, ...]

    @property
    def normalises(self) -> bool:
        """Whether there are layers that normalise by stored statistics."""
        return any(step.norm is not None for step in self.steps)

    @cached_property
    def last_uses(self) -> tuple[tuple[str, ...], ...]:
        """For every step, the values that nothing needs once it has run (constants and outputs always stay)."""
        kept = {*self.outputs, *self.constants}
        last = {
            name: position
            for position, step in enumerate(self.steps)
            for name in (*step.gives, *step.takes)
        }
        found: list[list[str]] = [[] for _ in self.steps]
        for name, position in last.items():
            if name not in kept:
                found[position].append(name)
        return tuple(tuple(names) for names in found)


Replacements = Mapping[str, Callable[[Tensor], Tensor]]
"""What is computed in a site's place, by the site's name."""

Watch = Callable[[Step, Sequence[Any]], None]
"""Sees a step and what it takes."""


def compute(step: Step, taken: Sequence[Any]) -> Sequence[Any]:
    """Return what a step gives.

    Raises:
        StepError: whatever its operator raises: models are anyone's, and so is what becomes of inputs nobody gave.
    """
    try:
        return step.run(*taken)
    except MemoryError:
        raise
    except OutOfMemoryError as error:
        raise MemoryError(str(error)) from error
    except Exception as error:
        said = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise StepError(f"{step.op} says: {said[:_MOST_SAID]}") from error


def run(
    program: Program,
    inputs: Mapping[str, Tensor],
    replacements: Replacements = MappingProxyType({}),
    watch: Watch | None = None,
) -> tuple[Any, ...]:
    """Run a program, with some of its sites replaced, dropping each value after its last use; return its outputs.

    `watch` is told of every step, with what it takes, before it runs.

    Raises:
        StepError: it does not run on these inputs.
    """
    values: dict[str, Any] = {**program.constants, **inputs}
    for step, unneeded in zip(program.steps, program.last_uses, strict=True):
        taken = [values[name] for name in step.takes]
        if watch is not None:
            watch(step, taken)
        replaced = replacements.get(step.site) if step.site is not None else None
        given = compute(step, taken) if replaced is None else (replaced(taken[0]),)
        values.update(zip(step.gives, given, strict=True))
        for name in unneeded:
            del values[name]
    return tuple(values[name] for name in program.outputs)
