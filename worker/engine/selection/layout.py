"""Layouts: ways to write a chain of layers with the same result and MACs, but not the same time.

Runtimes have no fast code for a depthwise layer with several filters a channel, or several inputs
an output. Next to a layer across channels (DAC, pointwise first), the pair equals a sum of pairs,
its branches, whose depthwise layers have one filter a channel. `benchmarks/layouts.py` measures
both.
"""

from collections.abc import Sequence
from dataclasses import replace

from convpress.formats import Format
from worker.engine.costs.table import CostTable
from worker.engine.formats import adapter_of
from worker.engine.formats.adapter import Layout
from worker.engine.model import Site
from worker.engine.numerics.convolution import Convolution, Layer

FEW_CHANNELS = 4
"""The most input channels of layers that are computed as those of images: outside of blocks."""


def arranged(
    site: Site, layers: Sequence[Layer], target: Format | CostTable
) -> list[tuple[Layer, ...]]:
    """Return the chains whose outputs sum to a chain's, in the best layout in a site's place."""
    convolutions = [layer.convolution for layer in layers]
    return in_layout(layers, layout_of(site, convolutions, target))


def layout_of(
    site: Site, convolutions: Sequence[Convolution], target: Format | CostTable
) -> Layout:
    """Return the layout of a chain in a site's place: the faster by the table, or the usual."""
    if branch_number(convolutions) == 1:
        return "whole"
    if not isinstance(target, CostTable):
        return _usual(convolutions, target)
    # a tie goes to the whole chain, which has fewer layers
    whole = nanoseconds(site, convolutions, target, "whole")
    branches = nanoseconds(site, convolutions, target, "branches")
    if whole is None or branches is None:
        return _usual(convolutions, target.format)
    return "branches" if branches < whole else "whole"


def _usual(convolutions: Sequence[Convolution], model_format: Format) -> Layout:
    # The default was measured with two spatial axes; other layers stay whole. So do layers of few
    # channels, where each branch writes all outputs to add little (`benchmarks/forms.py`).
    first = convolutions[0]
    if len(first.kernel) == 2 and first.in_channels > FEW_CHANNELS:
        return adapter_of(model_format).default_layout
    return "whole"


def nanoseconds(
    site: Site,
    convolutions: Sequence[Convolution],
    table: CostTable,
    layout: Layout,
    *,
    int8: bool = False,
) -> int | None:
    """Return the time of a chain in a site's place, over all its calls; None without a price."""
    number, chain = 1, convolutions
    if layout == "branches":
        number, chain = branch_number(convolutions), branch_convolutions(convolutions)
    total = 0
    for call in site.calls:
        once = table.summed(chain, number, call.input_size, call.batch, int8=int8)
        if once is None:
            return None
        total += call.times * once
    return total if site.calls else None


def branch_number(convolutions: Sequence[Convolution]) -> int:
    """Return the number of branches of a chain; 1 where it cannot be taken apart.

    >>> ones, none = (1, 1), ((0, 0), (0, 0))
    >>> depthwise = Convolution((12, 1, 3, 3), ones, ((1, 1), (1, 1)), ones, groups=4)
    >>> branch_number([depthwise, Convolution((8, 12, 1, 1), ones, none, ones)])
    3
    """
    if len(convolutions) != 2 or any(
        convolution.transposed for convolution in convolutions
    ):
        return 1
    first, second = convolutions
    if first.groups == first.in_channels > 1:
        return first.out_channels // first.groups
    if second.groups == second.out_channels > 1:
        return second.in_channels // second.groups
    return 1


def branch_convolutions(convolutions: Sequence[Convolution]) -> tuple[Convolution, ...]:
    """Return the geometry of one of a chain's branches; all of them have the same."""
    number = branch_number(convolutions)
    if number == 1:
        return tuple(convolutions)
    first, second = convolutions
    n, *rest = first.weight_shape
    m, inputs, *kernel = second.weight_shape
    return (
        replace(first, weight_shape=(n // number, *rest)),
        replace(second, weight_shape=(m, inputs // number, *kernel)),
    )


def in_layout(layers: Sequence[Layer], layout: Layout) -> list[tuple[Layer, ...]]:
    """Return the chains whose outputs sum to a chain's: the chain itself, or its branches.

    Branch b of k takes the channels b, b + k, b + 2k ... between the layers. The last bias goes to
    the first branch.
    """
    convolutions = [layer.convolution for layer in layers]
    number = branch_number(convolutions)
    if layout == "whole" or number == 1:
        return [tuple(layers)]
    first, second = layers
    first_geometry, second_geometry = branch_convolutions(convolutions)
    branches: list[tuple[Layer, ...]] = []
    for branch in range(number):
        channels = slice(branch, None, number)
        first_bias = None
        if first.bias is not None:
            first_bias = first.bias[channels]
        # the outputs are summed: the bias is added once
        last_bias = second.bias if branch == 0 else None
        first_weight = first.weight[channels]
        second_weight = second.weight[:, channels]
        front = Layer(first_geometry, first_weight, first_bias)
        back = Layer(second_geometry, second_weight, last_bias)
        branches.append((front, back))
    return branches
