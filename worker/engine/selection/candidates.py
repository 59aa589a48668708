"""Candidates: the original of a site, or one of its forms at one rank, with its cost and error."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from worker.engine.decompose import Factorisation, Rank, Target
from worker.engine.model import Site, by_execution_path
from worker.engine.numerics.convolution import Convolution, Layer
from worker.engine.numerics.moments import Moments, unknown

ORIGINAL = "original"
"""The form of a site that is left as it is."""


@dataclass(frozen=True)
class Candidate:
    """One possible content of a site: a factorisation at one rank, or the original (both None).

    It holds no weights; `layers` computes them. `macs` and `nanoseconds` are those of all calls of
    the site. `parameters` is the number of weights. `error` is the energy of the difference of the
    outputs over that of the outputs. `nanoseconds` is the time by the cost table, None without a
    table or without a price in it for one of the layers.

    With `quantised` its layers are computed in int8. `int8_error` is what that adds to the error of
    the model's outputs, relative and squared. `conversion` is the time of turning the site's inputs
    and outputs into int8 and back, where it is taken to pay for them.
    """

    macs: int
    parameters: int
    error: float
    factorisation: Factorisation | None = None
    rank: Rank | None = None
    nanoseconds: int | None = None
    quantised: bool = False
    int8_error: float = 0.0
    conversion: int = 0

    @property
    def is_original(self) -> bool:
        """Whether it leaves the site as it is, in float."""
        return self.factorisation is None and not self.quantised

    @property
    def time(self) -> int | None:
        """The time with the conversions around it; None without a price."""
        return None if self.nanoseconds is None else self.nanoseconds + self.conversion

    @property
    def form(self) -> str:
        """The form's name."""
        return ORIGINAL if self.factorisation is None else self.factorisation.form

    @property
    def variant(self) -> str | None:
        """The variant of the form, in a few words."""
        return None if self.factorisation is None else self.factorisation.variant

    @property
    def convolutions(self) -> tuple[Convolution, ...]:
        """The geometry of the layers that take the site's place; none where it stays."""
        if self.factorisation is None or self.rank is None:
            return ()
        return self.factorisation.convolutions(self.rank)

    def layers(self, layer: Layer, moments: Moments | None = None) -> tuple[Layer, ...]:
        """Return the layers that take a layer's place, fitted to the moments of its inputs."""
        if self.factorisation is None or self.rank is None:
            return (layer,)
        return self.factorisation.layers(target_of(layer, moments), self.rank)


@dataclass(frozen=True)
class SiteCandidates:
    """A site's candidates, the original first; `reason` says why it is the only one, if it is."""

    site: Site
    candidates: tuple[Candidate, ...]
    reason: str | None

    @cached_property
    def original(self) -> Candidate:
        """The site as it is, in a model that is as it is: without conversions."""
        return replace(self.candidates[0], conversion=0)

    def without_form(self, form: str) -> "SiteCandidates":
        """Return the site without its candidates of a form."""
        left = tuple(each for each in self.candidates if each.form != form)
        return replace(self, candidates=left)


def target_of(layer: Layer, moments: Moments | None) -> Target:
    """Return the target of a factorisation; without moments the weights count alone."""
    if moments is None:
        moments = unknown(layer.convolution)
    return Target.of(layer, moments)


def total_nanoseconds(
    sites: Sequence[SiteCandidates], choice: Sequence[Candidate]
) -> int:
    """Return the time of a choice by the cost table, along the slowest execution path.

    Candidates without a price take no time.
    """
    nanoseconds = [candidate.time or 0 for candidate in choice]
    return max(by_execution_path([each.site for each in sites], nanoseconds))
