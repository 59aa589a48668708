"""Pass on what comes out of a branch whose alternative raises an error.

`nn.MultiheadAttention` checks the shape of each bias in a branch that returns the bias. Behind the
check it is the same tensor, and so it is still a stored one.
"""

from torch._C import Block, Graph

from worker.engine.formats.torchscript.graph import nodes


def settle(graph: Graph) -> None:
    """Let the users of such results read the values themselves; the checks stay."""
    for node in list(nodes(graph)):
        if node.kind() != "prim::If":
            continue
        passing = [block for block in node.blocks() if not _raises(block)]
        if len(passing) != 1:
            continue
        [block] = passing
        own = _values_of(block)
        for output, result in zip(node.outputs(), block.outputs(), strict=True):
            # A value of the block itself is not there behind it.
            if result.unique() not in own:
                output.replaceAllUsesWith(result)


def _raises(block: Block) -> bool:
    """Whether a block never reaches its end."""
    return any(node.kind() == "prim::RaiseException" for node in block.nodes())


def _values_of(block: Block) -> set[int]:
    """Return the values that the nodes of a block compute."""
    own: set[int] = set()
    for node in block.nodes():
        own.update(value.unique() for value in node.outputs())
    return own
