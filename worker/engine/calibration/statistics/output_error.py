"""How far a compressed model's outputs are from the original's, on inputs that both are given."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from worker.engine.calibration.inputs.distil import scores_of
from worker.engine.calibration.refit.refit import Chains, chain
from worker.engine.calibration.replay import Batch
from worker.engine.program import Program, StepError, run


class Judge:
    """Batches, and what the original gives on them: run once, however many models are judged."""

    @torch.no_grad()
    def __init__(self, program: Program, batches: Sequence[Batch]) -> None:
        self._program = program
        self._cases = [(batch, _comparable(run(program, batch))) for batch in batches]

    @torch.no_grad()
    def error(self, chains: Chains) -> float:
        """Return the squared error of all floating-point outputs over their variance about the mean sample.

        A classifier's outputs are compared as logarithms of probabilities, about their mean: what softmax flattens
        counts. Where the original gives NaN or infinity nothing is compared. All is lost of numbers that the replaced
        sites make such of, of outputs that they change the shape of, and where they keep the program from running.
        """
        replaced = {
            site: lambda x, layers=layers: chain(layers, x) for site, layers in chains.items()
        }
        difference = energy = 0.0
        for batch, wanted in self._cases:
            try:
                given = _comparable(run(self._program, batch, replaced))
            except StepError:
                given = (None,) * len(wanted)
            for a, b in zip(wanted, given, strict=True):
                if isinstance(a, Tensor) and a.is_floating_point():
                    usable = a.isfinite()
                    exact = a.double().where(usable, 0)
                    other = (
                        b.double().nan_to_num(0, 0, 0)
                        if isinstance(b, Tensor) and b.shape == a.shape
                        else 0
                    )
                    difference += float((exact - other).where(usable, 0).square().sum())
                    middle = exact.mean(0) if exact.dim() and len(exact) > 1 else exact.mean()
                    energy += float((exact - middle).where(usable, 0).square().sum())
        return difference / energy if energy > 0 else difference


def _comparable(outputs: Sequence[Any]) -> Sequence[Any]:
    scores = scores_of(outputs)
    return outputs if scores is None else [scores - scores.mean(1, keepdim=True)]
