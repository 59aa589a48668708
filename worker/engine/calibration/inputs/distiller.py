"""Distilling of many batches, with progress."""

from collections.abc import Callable, Sequence

from worker.engine.calibration.harness import Harness
from worker.engine.calibration.inputs.distil import distil
from worker.engine.calibration.replay import Batch
from worker.engine.numerics import parallel

Tell = Callable[[float], None]
"""Takes the share of a calibration that is done."""

# Between the seeds of two sets of batches, of which each batch has its own.
_SEED_STEP = 1000


class Distiller:
    """Distils batches for one harness, and reports progress.

    `work` is the number of images times steps over all batches, and `share` how much of the whole
    calibration it is.
    """

    def __init__(self, harness: Harness, work: int, share: float, tell: Tell) -> None:
        self._harness = harness
        self._work = max(work, 1)
        self._share = share
        self._tell = tell
        self._done = 0

    def distil(self, batches: Sequence[Batch], steps: int, seed: int) -> list[Batch]:
        """Return distilled batches; without steps, the batches themselves.

        Raises:
            DistillingError: the model's gradients cannot change images.
        """
        name = self._harness.gradient_input
        if name is None or not steps:
            return list(batches)

        def distil_one(at: int) -> Batch:
            own_seed = _SEED_STEP * seed + at
            program = self._harness.program
            return distil(program, batches[at], name, steps, own_seed)

        distilled = []
        for batch in parallel.in_order(distil_one, range(len(batches))):
            distilled.append(batch)
            self._done += self._harness.batch * steps
            done = min(1.0, self._done / self._work)
            self._tell(self._share * done)
        return distilled
