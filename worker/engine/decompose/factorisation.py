"""What a form offers for one layer: its error at every rank, and the layers of any of them."""

from collections.abc import Callable
from dataclasses import dataclass

from worker.engine.convolution import Array, Convolution, Layer


@dataclass(frozen=True)
class Factorisation:
    """One layer in one form, at every rank from 1 to `len(errors)`.

    `errors[r - 1]` is the squared relative error of rank r, `||W - W_r||^2 / ||W||^2`. `convolutions(r)` tells the
    geometry of the layers that `layers(r)` computes, without computing them.
    """

    form: str
    errors: Array
    convolutions: Callable[[int], tuple[Convolution, ...]]
    layers: Callable[[int], tuple[Layer, ...]]

    @property
    def ranks(self) -> range:
        """The ranks on offer; the last one is exact."""
        return range(1, len(self.errors) + 1)
