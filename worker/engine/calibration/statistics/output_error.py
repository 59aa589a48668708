"""The error of a compressed model's outputs against the original's, on the same inputs."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from worker.engine.calibration.chains import Chains, run_chain
from worker.engine.calibration.class_scores import scores_of
from worker.engine.calibration.replay import (
    Batch,
    CheckpointedRun,
    checkpoints,
    measure_footprints,
)
from worker.engine.program import Program, StepError, resume, run
from worker.engine.verify import ROUNDING, size_of_zero


class OutputError:
    """Batches with the original's outputs, which are computed once for any number of models."""

    @torch.no_grad()
    def __init__(
        self, program: Program, batches: Sequence[Batch], held_bytes: int | None = None
    ) -> None:
        """Run the original; `held_bytes` of its values may be held, which `of_site` needs."""
        self._program = program
        self._batches = batches
        self._originals = [_comparable(run(program, batch)) for batch in batches]
        self._prefix: CheckpointedRun | None = None
        if held_bytes is not None:
            footprints = measure_footprints(program, batches[0])
            positions = checkpoints(footprints, len(batches), held_bytes)
            self._prefix = CheckpointedRun(program, batches, positions)

    @torch.no_grad()
    def of(self, chains: Chains) -> float:
        """Return the squared error of an output over its variance about the mean sample.

        It is the mean over the outputs that vary: each has a unit of its own, such as pixels.
        A classifier's outputs are compared as log-probabilities about their mean: what softmax
        flattens counts too. Other outputs count if they are floating-point numbers. Where the
        original is NaN or infinite nothing is compared. Outputs count as 0 where the replaced
        sites make them NaN, change their shape, or keep the program from running.
        """
        inputs = ({**self._program.constants, **batch} for batch in self._batches)
        return self._error(inputs, 0, chains)

    @torch.no_grad()
    def of_site(self, position: int, chains: Chains) -> float:
        """Return the error as `of` does, where only the step at a position and later ones change.

        Each call needs at least the position of the last one: earlier steps do not run again.
        """
        assert self._prefix is not None  # values may be held
        return self._error(self._prefix.values_before(position), position, chains)

    def _error(
        self, lives: Iterable[Mapping[str, Any]], start: int, chains: Chains
    ) -> float:
        """Return the error of the outputs, given each batch's values before the step at `start`."""
        replacements: dict[str, Callable[[Tensor], Tensor]] = {
            site: partial(run_chain, layers) for site, layers in chains.items()
        }
        sums: dict[int, _Sums] = defaultdict(_Sums)
        for live, originals in zip(lives, self._originals, strict=True):
            try:
                outputs = _comparable(resume(self._program, live, start, replacements))
            except StepError:
                outputs = (None,) * len(originals)
            pairs = zip(originals, outputs, strict=True)
            for number, (original, output) in enumerate(pairs):
                if isinstance(original, Tensor) and original.is_floating_point():
                    sums[number].add(original, output)
        # what varies by rounding alone would count most of all
        zero = size_of_zero([each.size for each in sums.values()])
        varying = [each for each in sums.values() if each.varies and each.size > zero]
        if varying:
            ratios = [each.difference / each.variation for each in varying]
            return sum(ratios) / len(ratios)
        difference = sum(each.difference for each in sums.values())
        variation = sum(each.variation for each in sums.values())
        # Constant outputs have no variance to compare with.
        return difference / variation if variation > 0 else difference


@dataclass
class _Sums:
    """Sums of squares of an output: of the difference, of the variation, and of the original."""

    difference: float = 0.0
    variation: float = 0.0
    squares: float = 0.0
    values: int = 0

    @property
    def size(self) -> float:
        """The mean square of the original's values."""
        return self.squares / max(self.values, 1)

    @property
    def varies(self) -> bool:
        """Whether the output differs from sample to sample by more than rounding."""
        return self.variation > ROUNDING * self.squares

    def add(self, original: Tensor, output: object) -> None:
        """Add one batch, with the original's output and the one that is compared with it."""
        usable = original.isfinite()
        exact = original.double().where(usable, 0)
        # A single sample has its own mean number in the place of the mean sample.
        has_samples = exact.dim() and len(exact) > 1
        centre = exact.mean(0) if has_samples else exact.mean()
        self.difference += _sum_of_squares(exact - _same_shape(output, exact), usable)
        self.variation += _sum_of_squares(exact - centre, usable)
        self.squares += _sum_of_squares(exact, usable)
        self.values += int(usable.sum())


def _same_shape(output: object, like: Tensor) -> Tensor:
    """Return the output in double precision; zeros for what is not finite or has another shape."""
    if not isinstance(output, Tensor) or output.shape != like.shape:
        return torch.zeros_like(like)
    return output.double().nan_to_num(0, 0, 0)


def _sum_of_squares(values: Tensor, usable: Tensor) -> float:
    """Return the sum of squares where the original is finite."""
    compared = values.where(usable, 0)
    return float(compared.square().sum())


def _comparable(outputs: Sequence[Any]) -> Sequence[Any]:
    """Return a classifier's log-probabilities about their mean, other outputs as they are."""
    scores = scores_of(outputs)
    if scores is None:
        return outputs
    return [scores - scores.mean(1, keepdim=True)]
