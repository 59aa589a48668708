"""The scores of a classifier, as logarithms of probabilities."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor

# Probabilities of one image may sum to 1 within this, after rounding to half precision too.
_SUM_TOLERANCE = 1e-3
# The logarithm of 0 is not finite.
_LEAST_PROBABILITY = 1e-9
# Fewer numbers without a softmax may be the places or angles of a regression.
_SURELY_CLASSES = 10


def class_scores(outputs: Sequence[Any], count: int) -> Tensor | None:
    """Return log-probabilities `(count, classes)`; None where the model is no classifier.

    A classifier has a single output with one vector an image: probabilities, or numbers that
    softmax turns into probabilities.

    >>> class_scores([torch.zeros(8, 5, 1, 1)], 8).shape
    torch.Size([8, 5])
    >>> class_scores([torch.zeros(8, 5, 6, 6)], 8) is None
    True
    """
    scores = _only_output(outputs)
    if scores is None or not _is_vector_per_image(scores, count):
        return None
    flat = scores.reshape(count, -1)
    if _are_probabilities(flat):
        return flat.clamp_min(_LEAST_PROBABILITY).log()
    return F.log_softmax(flat, 1)


def scores_of(outputs: Sequence[Any]) -> Tensor | None:
    """Return `class_scores` for as many images as the first output has along its first axis."""
    first = outputs[0]
    if not isinstance(first, Tensor) or first.dim() <= 1:
        return None
    return class_scores(outputs, len(first))


def are_surely_classes(outputs: Sequence[Any], count: int) -> bool:
    """Whether outputs for `count` images that have class scores are surely a classifier's.

    They are probabilities, or more numbers than a regression mostly has.

    >>> are_surely_classes([torch.zeros(8, 5)], 8), are_surely_classes([torch.full((8, 5), 0.2)], 8)
    (False, True)
    """
    [output] = outputs
    flat = output.reshape(count, -1)
    return flat.shape[1] >= _SURELY_CLASSES or _are_probabilities(flat)


def _only_output(outputs: Sequence[Any]) -> Tensor | None:
    """Return the single floating-point output; None where there is another number of outputs."""
    if len(outputs) != 1:
        return None
    scores = outputs[0]
    if not isinstance(scores, Tensor) or not scores.is_floating_point():
        return None
    return scores


def _is_vector_per_image(scores: Tensor, count: int) -> bool:
    """Whether there is one vector of at least two numbers for each image."""
    if scores.dim() == 0:
        return False
    # where values choose the rows of an output, there may be none
    if len(scores) != count or scores.numel() < max(2 * count, 2):
        return False
    # `squeeze` also drops the batch axis of a single image.
    axes = 1 if count == 1 else 2
    return scores.squeeze().dim() <= axes


@torch.no_grad()
def _are_probabilities(flat: Tensor) -> bool:
    """Whether all numbers are at least 0 and sum to 1 in every row."""
    if not (flat >= 0).all():
        return False
    excess = flat.sum(1) - 1
    return bool(excess.abs().max() < _SUM_TOLERANCE)
