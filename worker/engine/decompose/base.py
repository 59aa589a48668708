"""What a form offers for one geometry: its ranks, what each costs, how far each is off, and the layers of any."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from worker.engine.decompose.target import Target
from worker.engine.numerics.convolution import Array, Convolution, Layer

Rank = int | tuple[int, int]
"""One number, or one for each of two sides."""


@dataclass(frozen=True)
class Factorisation:
    """One form with all that it leaves open but the rank, on one geometry; `variant` says what, in a few words.

    `ranks` are those that are offered, the last one exact; what one of a single number costs grows in proportion to
    it. `convolutions(rank)` is the geometry of the layers, known
    without any weights. `errors(target, ranks)` are the errors of some of the ranks, in their order, each relative to
    the energy of the outputs; `layers(target, rank)` are the layers of one. Each of these two factors the weights
    anew, and keeps nothing.
    """

    form: str
    variant: str | None
    ranks: Sequence[Rank]
    convolutions: Callable[[Rank], tuple[Convolution, ...]]
    errors: Callable[[Target, Sequence[Rank]], Array]
    layers: Callable[[Target, Rank], tuple[Layer, ...]]
