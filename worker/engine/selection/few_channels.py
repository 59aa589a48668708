"""Layers of few input channels, as of images: the forms that are slower, by a rule without a table.

Such a layer has little arithmetic for each number that it writes. A form that writes many more
numbers, or that saves little arithmetic, is slower than the layer. `benchmarks/forms.py` measures
it.
"""

from collections.abc import Sequence
from math import prod

from convpress.formats import Format
from worker.engine.formats import adapter_of
from worker.engine.model import Call, Site
from worker.engine.numerics.convolution import Convolution
from worker.engine.selection.layout import (
    FEW_CHANNELS,
    branch_convolutions,
    branch_number,
    layout_of,
)

_AXES = 2
_MACS_PER_ELEMENT = 60
"""The multiply-accumulates that take as long as writing one number more and reading it."""
_GROUPED = 4
"""The times that numbers between layers count if a layer with groups writes them.

Runtimes compute these layers outside of blocks, and reorder their outputs for the next layer.
"""


def is_concerned(site: Site) -> bool:
    """Return whether the rule concerns a site: two spatial axes, and few input channels."""
    original = site.convolution
    if original is None or original.transposed:
        return False
    return len(original.kernel) == _AXES and original.in_channels <= FEW_CHANNELS


def is_slower(
    site: Site, convolutions: Sequence[Convolution], model_format: Format
) -> bool:
    """Return whether layers in a site's place are slower than it, as far as a rule can tell.

    Layers in the place of sites that the rule does not concern may be slower than them.
    """
    original = site.convolution
    if original is None or not convolutions or not is_concerned(site):
        return False
    number, chain = 1, convolutions
    if layout_of(site, convolutions, model_format) == "branches":
        number, chain = branch_number(convolutions), branch_convolutions(convolutions)
    outputs = between = 0
    for call in site.calls:
        own = call.times * call.batch * _elements(original, call.input_size)
        outputs += own
        between += number * call.times * call.batch * _between(chain, call)
    # every branch but the first reads and writes the outputs of the ones before
    more = between + (number - 1) * outputs
    saved = site.macs - site.macs_of(convolutions)
    least = adapter_of(model_format).macs_per_output
    return saved < _MACS_PER_ELEMENT * more + least * outputs


def _between(chain: Sequence[Convolution], call: Call) -> int:
    """Return the numbers that all layers but the last write for one sample, by their weight."""
    total = 0
    size = call.input_size
    for convolution in chain[:-1]:
        elements = _elements(convolution, size)
        total += elements * _GROUPED if convolution.groups > 1 else elements
        size = convolution.output_size(size)
    return total


def _elements(convolution: Convolution, input_size: tuple[int, ...]) -> int:
    """Return the numbers that a layer writes for one sample."""
    return convolution.out_channels * prod(convolution.output_size(input_size))
