"""Running a program on one batch with some of its sites replaced, differentiably, and looking at what passes."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from worker.engine.calibration.walk import Batch
from worker.engine.program import Program, Step, compute, last_uses

Replacements = Mapping[str, Callable[[Tensor], Tensor]]
"""What is computed in a site's place, by the site's name."""

Watch = Callable[[Step, Sequence[Any]], None]
"""Told of every step, with what it takes, before it runs."""


def execute(program: Program, batch: Batch, replacements: Replacements, watch: Watch | None = None) -> tuple[Any, ...]:
    """Return a program's outputs with sites replaced.

    Raises:
        StepError: the program does not run on this batch.
    """
    last = last_uses(program)
    values: dict[str, Any] = {**program.constants, **batch}
    for position, step in enumerate(program.steps):
        taken = [values[name] for name in step.takes]
        if watch is not None:
            watch(step, taken)
        replaced = replacements.get(step.site) if step.site is not None else None
        given = compute(step, taken) if replaced is None else (replaced(taken[0]),)
        values.update(zip(step.gives, given, strict=True))
        for name in last[position]:
            del values[name]
    return tuple(values[name] for name in program.outputs)
