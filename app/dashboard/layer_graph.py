"""The layers of original and artifact side by side: what became of each."""

from collections.abc import Sequence
from typing import NamedTuple

from app.dashboard.formatting import shape
from convpress.report import Site

_UNCHANGED = (None, "original")


class Fate(NamedTuple):
    """A layer of the original and the layers in its place, by their weights' shapes.

    `layers` run one after the other, in each of `branches` whose outputs are summed. They are empty
    where the layer was left.
    """

    site: Site
    layers: Sequence[str]
    branches: int


def fate(site: Site) -> Fate:
    """Return the fate of a layer."""
    if site.form in _UNCHANGED:
        return Fate(site, (), 1)
    return Fate(site, [shape(sizes) for sizes in site.layers], site.branches)
