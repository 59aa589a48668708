"""The layers to write where channels are lost, and the channels that normalisations keep."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from worker.engine.decompose.channels import kept_channels
from worker.engine.model import Model, Site
from worker.engine.selection.candidates import Candidate
from worker.engine.selection.channels.coupling import kept_inputs
from worker.engine.selection.channels.narrowed import cut_outputs
from worker.engine.selection.channels.paths import ChannelPath
from worker.engine.selection.replacements import Replacements


@dataclass(frozen=True)
class Narrowing:
    """A path and the channels that it keeps, in ascending order."""

    path: ChannelPath
    kept: Sequence[int]


def narrow_layers(
    model: Model,
    sites: Sequence[Site],
    paths: Iterable[ChannelPath],
    choice: Sequence[Candidate],
    replacements: Replacements,
) -> tuple[Replacements, list[Narrowing]]:
    """Return the layers without the channels that nothing takes, and what each path keeps.

    `replacements` are those of sites with all channels; sites that only lose outputs are added.
    """
    by_name = {site.name: site for site in sites}
    chosen = dict(zip(by_name, choice, strict=True))
    layers = dict(replacements)
    narrowings = []
    for path in paths:
        if kept_inputs(by_name[path.consumer], chosen[path.consumer]) is None:
            continue
        selection, *rest = layers[path.consumer]
        layers[path.consumer] = tuple(rest)
        narrowings.append(Narrowing(path, kept_channels(selection)))
    for narrowing in narrowings:
        for name in narrowing.path.narrowed:
            own = layers.get(name) or (model.layer(by_name[name]),)
            layers[name] = cut_outputs(own, narrowing.kept)
    return layers, narrowings


def first_channels(
    sites: Sequence[Site],
    paths: Iterable[ChannelPath],
    choice: Sequence[Candidate],
) -> list[Narrowing]:
    """Return what each path keeps in number: the first channels, whichever will be kept."""
    names = [site.name for site in sites]
    narrowings = []
    for path in paths:
        at = names.index(path.consumer)
        kept = kept_inputs(sites[at], choice[at])
        if kept is not None:
            narrowings.append(Narrowing(path, range(kept)))
    return narrowings
