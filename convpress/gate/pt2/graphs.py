"""The graphs of a program: values are defined once and before their uses, inputs have tensors."""

from collections.abc import Iterable, Iterator, Mapping

from convpress.gate.pt2.json_text import Json
from convpress.gate.pt2.operators import POWER, WITH_GRAPHS
from convpress.gate.pt2.schema import StoredTensor, brief
from convpress.gate.pt2.tensor_schema import DTYPES
from convpress.gate.refusals import damaged, over_limit, unsafe
from convpress.limits import Limits

_PROGRAM = "models/model.json"
# torch recurses into graphs, many calls a graph.
_DEEPEST = 8
_LARGEST_POWER = 32
_VALUES = ("tensor_values", "sym_int_values", "sym_float_values", "sym_bool_values")
# The parts of an argument that name values.
_NAMES = ("name", "as_name")


def require_consistent(
    program: Mapping[str, Json],
    weights: Mapping[str, StoredTensor],
    constants: Mapping[str, StoredTensor],
    limits: Limits,
) -> None:
    """Require that graphs and signature of a program agree with each other and with the tensors.

    `program` has passed the schema.

    Raises:
        Refusal: `model_invalid` for contradictions, `model_unsafe` for graphs in operators that run
            none, `model_over_limit` for too many nodes or graphs within graphs.
    """
    module = program["graph_module"]
    nodes = sum(_require_graph(module["graph"], 0, limits))
    if nodes > limits.nodes:
        raise over_limit(
            f"the program has {nodes} nodes", f"at most {limits.nodes} nodes"
        )
    _require_signature(module, weights, constants)


def _require_graph(
    graph: Mapping[str, Json], depth: int, limits: Limits
) -> Iterator[int]:
    """Require a graph and those in it to be consistent, and yield their numbers of nodes."""
    if depth > min(_DEEPEST, limits.nesting):
        raise over_limit(
            "graphs nest too deep", f"at most {_DEEPEST} graphs within each other"
        )
    described = set().union(*(graph.get(values, {}) for values in _VALUES))
    defined: set[str] = set()
    for argument in graph["inputs"]:
        _define(_names(argument), defined, described)
    yield len(graph["nodes"])
    for node in graph["nodes"]:
        for inner in _graphs(node):
            yield from _require_graph(inner, depth + 1, limits)
        for entry in node["inputs"]:
            if "as_graph" not in entry["arg"]:
                _require_defined(_names(entry["arg"]), defined)
        _require_small_power(node)
        for output in node["outputs"]:
            _define(_names(output), defined, described)
    for output in graph["outputs"]:
        _require_defined(_names(output), defined)


def _graphs(node: Mapping[str, Json]) -> list[Mapping[str, Json]]:
    """Return the graphs among the arguments of a node."""
    graphs = [
        entry["arg"]["as_graph"]["graph"]
        for entry in node["inputs"]
        if "as_graph" in entry["arg"]
    ]
    if graphs and node["target"] not in WITH_GRAPHS:
        raise unsafe(
            f"the operator {brief(node['target'])} has a graph", "operators on tensors"
        )
    return graphs


def _names(argument: Json) -> Iterator[str]:
    """Yield the names of the values in an argument; it nests no deeper than the schema says."""
    if isinstance(argument, list):
        for element in argument:
            yield from _names(element)
    elif isinstance(argument, dict):
        for key, member in argument.items():
            if key in _NAMES:
                yield member
            elif isinstance(member, (dict, list)):
                yield from _names(member)


def _define(names: Iterable[str], defined: set[str], described: set[str]) -> None:
    for name in names:
        if name in defined:
            raise damaged(f"{_PROGRAM} defines the value {brief(name)} twice")
        if name not in described:
            raise damaged(f"{_PROGRAM} does not describe the value {brief(name)}")
        defined.add(name)


def _require_defined(names: Iterable[str], defined: set[str]) -> None:
    for name in names:
        if name not in defined:
            raise damaged(
                f"{_PROGRAM} uses the value {brief(name)} before it defines it"
            )


def _require_small_power(node: Mapping[str, Json]) -> None:
    """Require a small exponent: a power of whole numbers has no bound on its memory."""
    if node["target"] != POWER:
        return
    exponents = [entry["arg"] for entry in node["inputs"]][1:]
    whole = [each for each in exponents if "as_float" not in each]
    if any(
        abs(each.get("as_int", _LARGEST_POWER + 1)) > _LARGEST_POWER for each in whole
    ):
        raise unsafe(
            "a size is raised to a power", f"powers of at most {_LARGEST_POWER}"
        )


def _require_signature(
    module: Mapping[str, Json],
    weights: Mapping[str, StoredTensor],
    constants: Mapping[str, StoredTensor],
) -> None:
    """Require an input of the graph for each of the signature, and the tensors that they name."""
    signature = module["signature"]
    graph = module["graph"]
    for kind in ("input", "output"):
        specs = signature[f"{kind}_specs"]
        values = graph[f"{kind}s"]
        if len(specs) != len(values):
            raise damaged(
                f"the signature has {len(specs)} {kind}s, and the graph has {len(values)}"
            )
    for spec, argument in zip(signature["input_specs"], graph["inputs"], strict=True):
        [(kind, content)] = spec.items()
        stored = _stored(kind, content, weights, constants)
        names = list(_names(content.get("arg", [])))
        if names and names != list(_names(argument)):
            raise damaged(
                f"the signature names an input {brief(names[0])}, the graph has another there"
            )
        if stored is not None:
            _require_same_shape(stored, graph["tensor_values"][names[0]])
    _require_targets(signature["output_specs"], weights, constants)


def _stored(
    kind: str,
    content: Mapping[str, Json],
    weights: Mapping[str, StoredTensor],
    constants: Mapping[str, StoredTensor],
) -> StoredTensor | None:
    """Return the tensor that an input of the signature is; None for one that the caller gives."""
    if kind == "parameter":
        return _named(content["parameter_name"], weights)
    if kind == "buffer":
        return _named(
            content["buffer_name"], weights if content["persistent"] else constants
        )
    if kind == "tensor_constant":
        return _named(content["tensor_constant_name"], constants)
    return None


def _named(name: str, tensors: Mapping[str, StoredTensor]) -> StoredTensor:
    if name not in tensors:
        raise damaged(
            f"the signature names a tensor {brief(name)}, which the archive does not have"
        )
    return tensors[name]


def _require_same_shape(stored: StoredTensor, described: Mapping[str, Json]) -> None:
    sizes = tuple(size.get("as_int") for size in described["sizes"])
    dtype, _ = DTYPES[described["dtype"]]
    if sizes != stored.sizes or dtype != stored.dtype:
        raise damaged(
            f"{brief(stored.name)} is {stored.dtype} of {brief(str(stored.sizes))} in the index, "
            f"and {dtype} of {brief(str(sizes))} in the graph"
        )


def _require_targets(
    specs: Iterable[Mapping[str, Json]],
    weights: Mapping[str, StoredTensor],
    constants: Mapping[str, StoredTensor],
) -> None:
    """Require the tensors that a run changes to be in the archive."""
    for spec in specs:
        [content] = spec.values()
        for member in ("buffer_name", "parameter_name"):
            name = content.get(member)
            if name is not None and name not in weights and name not in constants:
                raise damaged(
                    f"a run changes {brief(name)}, which the archive does not have"
                )
