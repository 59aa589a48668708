"""Layouts: ways to write a chain of layers that compute the same, in as much arithmetic, but not in as much time.

A depthwise layer with several filters a channel, or several inputs an output, is one that runtimes have no fast code
for. Where one stands beside a layer across channels (DAC, pointwise first), the pair is the sum of as many pairs, its
branches, in whose depthwise layers every channel has one filter. `benchmarks/layouts.py` measures both.
"""

from collections.abc import Sequence
from dataclasses import replace

from convpress.formats import Format
from worker.engine.costs.table import CostTable
from worker.engine.formats import adapter_of
from worker.engine.formats.adapter import Layout
from worker.engine.model import Site
from worker.engine.numerics.convolution import Convolution, Layer


def arranged(
    site: Site, layers: Sequence[Layer], target: Format | CostTable
) -> list[tuple[Layer, ...]]:
    """Return the chains whose outputs' sum is what a chain gives, in the layout that is best in a site's place."""
    return in_layout(layers, layout_of(site, [layer.convolution for layer in layers], target))


def layout_of(
    site: Site, convolutions: Sequence[Convolution], target: Format | CostTable
) -> Layout:
    """Return how a chain is best written in a site's place: by the cost table, or as is usual in a format."""
    if branch_number(convolutions) == 1:
        return "whole"
    if isinstance(target, CostTable):
        whole, branches = (
            nanoseconds(site, convolutions, target, layout) for layout in ("whole", "branches")
        )
        if whole is not None and branches is not None:
            return "branches" if branches < whole else "whole"
        target = target.format
    return adapter_of(target).default_layout if len(convolutions[0].kernel) == 2 else "whole"


def nanoseconds(
    site: Site, convolutions: Sequence[Convolution], table: CostTable, layout: Layout
) -> int | None:
    """Return what a chain takes in a site's place in one layout, over all its calls; None where it has no price."""
    number, chain = 1, convolutions
    if layout == "branches":
        number, chain = branch_number(convolutions), branch_convolutions(convolutions)
    calls = [table.summed(chain, number, call.input_size, call.batch) for call in site.calls]
    if not calls or None in calls:
        return None
    return sum(
        call.times * once for call, once in zip(site.calls, calls, strict=True) if once is not None
    )


def branch_number(convolutions: Sequence[Convolution]) -> int:
    """Return of how many branches a chain is the sum; 1 where it cannot be taken apart.

    >>> depthwise = Convolution((12, 1, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), groups=4)
    >>> branch_number([depthwise, Convolution((8, 12, 1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1))])
    3
    """
    if len(convolutions) != 2 or any(convolution.transposed for convolution in convolutions):
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
    """Return the chains whose outputs' sum is what a chain gives: itself, or its branches.

    The channels between its layers are dealt out in turn; the last bias goes to the first branch.
    """
    convolutions = [layer.convolution for layer in layers]
    number = branch_number(convolutions)
    if layout == "whole" or number == 1:
        return [tuple(layers)]
    first, second = layers
    ahead, behind = branch_convolutions(convolutions)
    return [
        (
            Layer(
                ahead,
                first.weight[branch::number],
                None if first.bias is None else first.bias[branch::number],
            ),
            Layer(behind, second.weight[:, branch::number], None if branch else second.bias),
        )
        for branch in range(number)
    ]
