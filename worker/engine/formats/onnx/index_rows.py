"""Inputs that select rows of a stored table, as token ids do of an embedding."""

from collections.abc import Iterator, Mapping

from onnx import GraphProto, NodeProto

from worker.engine.formats.onnx.constants import Constant, constants
from worker.engine.formats.onnx.graph import input_name, integer, operator

# They move or copy numbers, and change none.
_KEEPING = frozenset(
    (
        "Identity",
        "Cast",
        "Reshape",
        "Unsqueeze",
        "Squeeze",
        "Flatten",
        "Slice",
        "Transpose",
    )
)
_GATHERS = ("Gather", "com.microsoft::GatherBlockQuantized")
_EMBED = "com.microsoft::EmbedLayerNormalization"


def index_rows(graph: GraphProto) -> dict[str, int]:
    """Return the number of rows that each input of a graph selects from, the smallest of several.

    Inputs that select nothing, or from what is not stored, are left out.
    """
    known = constants(graph)
    sources = {value.name: value.name for value in graph.input}
    rows: dict[str, int] = {}
    for node in graph.node:
        data = input_name(node, 0)
        source = sources.get(data)
        if operator(node) in _KEEPING and node.output and source is not None:
            sources[node.output[0]] = source
        for indices, number in _selections(node, known):
            source = sources.get(indices)
            if source is not None:
                known_number = rows.get(source, number)
                rows[source] = min(number, known_number)
    return rows


def _selections(
    node: NodeProto, known: Mapping[str, Constant]
) -> Iterator[tuple[str, int]]:
    """Yield the indices of a node, each with the number of rows of its stored table."""
    kind = operator(node)
    if kind in _GATHERS:
        table = known.get(input_name(node, 0))
        axis = integer(node, "axis", 0)
        if table is not None and -len(table.shape) <= axis < len(table.shape):
            yield input_name(node, 1), table.shape[axis]
    if kind == _EMBED:
        for indices, place in ((0, 2), (1, 4)):
            name = input_name(node, place)
            table = known.get(name)
            if table is not None and table.shape:
                yield input_name(node, indices), table.shape[0]
