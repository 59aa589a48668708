"""The error of a compressed model's outputs against the original's, on the same inputs."""

from collections.abc import Callable, Iterable, Mapping, Sequence
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
        """Return the squared error of all outputs over their variance about the mean sample.

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
        difference = 0.0
        energy = 0.0
        for live, originals in zip(lives, self._originals, strict=True):
            try:
                outputs = _comparable(resume(self._program, live, start, replacements))
            except StepError:
                outputs = (None,) * len(originals)
            for original, output in zip(originals, outputs, strict=True):
                if not isinstance(original, Tensor) or not original.is_floating_point():
                    continue
                squares = _squares(original, output)
                difference += squares[0]
                energy += squares[1]
        if energy > 0:
            return difference / energy
        # Constant outputs have no variance to compare with.
        return difference


def _squares(original: Tensor, output: object) -> tuple[float, float]:
    """Return the sums of squares of the difference, and of the original about the mean sample."""
    usable = original.isfinite()
    exact = original.double().where(usable, 0)
    other = _same_shape(output, exact)
    difference = exact - other
    # A single sample has its own mean number in the place of the mean sample.
    has_samples = exact.dim() and len(exact) > 1
    centre = exact.mean(0) if has_samples else exact.mean()
    variation = exact - centre
    error = _sum_of_squares(difference, usable)
    energy = _sum_of_squares(variation, usable)
    return error, energy


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
