"""Why samples may be unlike the inputs that a model was trained on."""

from collections.abc import Sequence

import torch
from torch import Tensor

from worker.engine.calibration.class_scores import scores_of
from worker.engine.calibration.harness import Harness
from worker.engine.calibration.inputs.probing import (
    FEW_IMAGES,
    IF_CLASSES,
    Trials,
    mismatch_of,
    probe_leniently,
)
from worker.engine.calibration.inputs.ranges import (
    are_told_apart,
    information_by_range,
    mutual_information,
)
from worker.engine.calibration.replay import Batch
from worker.engine.program import run

# The mean over a model's normalisations: real samples are an order of magnitude below, and black
# images above.
_MOST_MISMATCH = 0.4
# Of the information on synthetic images in the usual range where it is highest: real samples have
# three quarters or more, plain colours and noise less than a third.
_LEAST_SHARE = 0.35


def doubt_of_samples(
    harness: Harness, batches: Sequence[Batch], trials: Trials
) -> str | None:
    """Return why samples may be unlike the inputs that the model was trained on; None if they fit.

    They give the statistics that the model stores; or a classifier that stores none tells them
    apart, and not far less than synthetic images in the usual range that suits it best. Samples in
    a wrong range do neither, and those of another kind mostly neither. Of few samples that run
    together the statistics tell nothing.
    """
    together = [len(batch[harness.image_names[0]]) for batch in batches]
    if sum(together) < FEW_IMAGES:
        return None
    if harness.program.normalises:
        mismatch = mismatch_of(harness, batches)
        if min(together) < FEW_IMAGES or mismatch <= _MOST_MISMATCH:
            return None
        return "the samples do not give the statistics that the model stores"
    tables = [_scores(harness, batch) for batch in batches]
    scores = [table for table in tables if table is not None]
    if not scores:
        return None
    joined = torch.cat(scores)
    if not are_told_apart(joined):
        return f"{IF_CLASSES}the model hardly tells the samples apart"
    pairs = [probe_leniently(harness, values, trials) for values in trials.usual]
    synthetic = {
        values: probed.scores for values, probed in pairs if probed.scores is not None
    }
    most = max(information_by_range(synthetic).values(), default=0.0)
    if mutual_information(joined) >= _LEAST_SHARE * most:
        return None
    return f"{IF_CLASSES}the model tells synthetic images far better apart than the samples"


@torch.no_grad()
def _scores(harness: Harness, batch: Batch) -> Tensor | None:
    """Return the class scores of a batch; None of a model that is no classifier."""
    return scores_of(run(harness.program, batch))
