"""A form on one geometry: its ranks, and the cost, the error and the layers of each rank."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from worker.engine.decompose.target import Target
from worker.engine.numerics.convolution import Array, Convolution, Layer

Rank = int | tuple[int, int]
"""One number, or one for each of two sides."""


@dataclass(frozen=True)
class Factorisation(ABC):
    """One form of one convolution, with everything fixed but the rank.

    `variant` says in a few words what distinguishes it from others of the same form; None for the
    only one.
    """

    convolution: Convolution
    form: str
    variant: str | None

    @property
    @abstractmethod
    def ranks(self) -> Sequence[Rank]:
        """The ranks on offer, the last one exact.

        The cost of a rank that is a single number is proportional to it.
        """

    @abstractmethod
    def convolutions(self, rank: Rank) -> tuple[Convolution, ...]:
        """Return the geometry of the layers, which depends on no weights.

        Args:
            rank: one of the `ranks`, or any single number up to the last one.

        Returns:
            the layers in the order in which they feed one another.
        """

    @abstractmethod
    def errors(self, target: Target, ranks: Sequence[Rank]) -> Array:
        """Return the errors of several ranks; it factors the weights anew, and keeps nothing.

        Args:
            target: the layer and the moments of its inputs.
            ranks: some of the `ranks`.

        Returns:
            `(len(ranks),)`, the energy of the outputs' difference over that of the outputs.
        """

    @abstractmethod
    def layers(self, target: Target, rank: Rank) -> tuple[Layer, ...]:
        """Return the layers of one rank; it factors the weights anew, and keeps nothing.

        Args:
            target: the layer and the moments of its inputs.
            rank: as for `convolutions`.

        Returns:
            the layers that take the target's place, the last one with the bias.
        """
