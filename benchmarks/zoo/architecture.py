"""An architecture to export: a module with random weights, and the inputs to export it with."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class Architecture:
    """A module in inference mode with example inputs by the names of its arguments.

    `free_batch` says whether the first axis of every input is one of samples, so that exporters
    leave it open.
    """

    module: nn.Module
    inputs: dict[str, Tensor]
    free_batch: bool = True


Builder = Callable[[], Architecture]
"""Builds an architecture anew, with weights of the current seed."""
