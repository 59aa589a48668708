"""The steps of a program while it is read: those that depend on no input are computed at once."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from worker.engine.formats.aten.errors import TORCH_ERRORS, message_of
from worker.engine.formats.aten.layers import UNKNOWN
from worker.engine.program import NoProgramError, Program, Step


class StepRecorder:
    """Steps in the order in which they run, and the `constants`: contents that no input changes."""

    def __init__(self) -> None:
        self.constants: dict[str, Any] = {}
        self._steps: list[Step] = []
        self._also_read: set[str] = set()

    def constant(self, name: str) -> Any:  # noqa: ANN401 - whatever the graph holds
        """Return the content that a name has at every run, or `UNKNOWN`."""
        return self.constants.get(name, UNKNOWN)

    def add(self, step: Step, *, is_random: bool) -> None:
        """Add a step, or its results to the constants where they depend on no input.

        Raises:
            NoProgramError: it fails on constants.
        """
        is_constant = all(name in self.constants for name in step.takes)
        if is_constant and not is_random:
            self.constants.update(self._results(step))
        else:
            self._steps.append(self._with_constants(step))

    def note_reads(self, names: Iterable[str]) -> None:
        """Note values that the model reads where that is no step."""
        self._also_read.update(names)

    def program(self, inputs: Sequence[str], outputs: Sequence[str]) -> Program:
        """Return the steps and constants that the outputs need."""
        # From the last step to the first: what a needed step takes is needed as well.
        needed = set(outputs)
        also_read = set(self._also_read)
        steps = []
        for step in reversed(self._steps):
            if not needed.isdisjoint(step.gives):
                needed.update(step.takes)
                steps.append(step)
            else:
                also_read.update(step.takes)
        steps.reverse()
        constants = {
            name: value for name, value in self.constants.items() if name in needed
        }
        return Program(
            inputs=tuple(inputs),
            outputs=tuple(outputs),
            constants=constants,
            steps=tuple(steps),
            also_read=frozenset(also_read),
        )

    def _results(self, step: Step) -> dict[str, Any]:
        """Return the results of a step on constants, by name."""
        arguments = [self.constants[name] for name in step.takes]
        try:
            with torch.no_grad():
                results = step.run(*arguments)
            named_results = zip(step.gives, results, strict=True)
            return dict(named_results)
        except TORCH_ERRORS as error:
            raise NoProgramError(f"{step.op} fails: {message_of(error)}") from error

    def _with_constants(self, step: Step) -> Step:
        """Return a step that has its constants built in, except those that it takes by name."""
        stays = [self._stays(name, step) for name in step.takes]
        if all(stays):
            return step
        contents = [self.constants.get(name) for name in step.takes]
        numbered = enumerate(stays)
        positions = [position for position, is_argument in numbered if is_argument]
        kept_names = [step.takes[position] for position in positions]
        takes = tuple(kept_names)
        run = _filled(step.run, contents, positions)
        return replace(step, takes=takes, run=run)

    def _stays(self, name: str, step: Step) -> bool:
        """Whether a step takes a value by its name.

        Constant tensors stay as well, except in the steps of a site or a normalisation, which take
        their data alone.
        """
        if name not in self.constants:
            return True
        takes_data_alone = step.site is not None or step.norm is not None
        is_tensor = isinstance(self.constants[name], Tensor)
        return is_tensor and not takes_data_alone


def _filled(
    run: Callable[..., Sequence[Any]], contents: Sequence[Any], positions: Sequence[int]
) -> Callable[..., Sequence[Any]]:
    """Return a call that takes the arguments at these positions; the others are `contents`."""

    def filled(*values: Any) -> Sequence[Any]:  # noqa: ANN401 - whatever flows through the graph
        arguments = [*contents]
        for position, value in zip(positions, values, strict=True):
            arguments[position] = value
        return run(*arguments)

    return filled
