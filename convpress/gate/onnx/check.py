"""The gate for ONNX files, which checks them on the wire before any library parses them.

Parsers merge a message that is there twice, follow names to other files, inline functions into
functions, and believe the sizes that tensors declare. Each of these is counted, bounded or refused
here, in one walk over everything but the weights.

Source: onnx.proto (IR version 13), ONNX's IR.md and ExternalData.md.
"""

import zipfile
from pathlib import Path

from convpress.gate import bundle, protobuf
from convpress.gate.bundle import Bundle
from convpress.gate.mapped import mapped
from convpress.gate.onnx.calls import (
    Body,
    FunctionId,
    NodeNames,
    bound_calls,
    require_order,
)
from convpress.gate.onnx.tensors import Tensors
from convpress.gate.onnx.values import check_type, check_value
from convpress.gate.onnx.wire import Wire, shown
from convpress.gate.protobuf import DELIMITED, Field
from convpress.gate.refusals import damaged, over_limit
from convpress.limits import Limits

# Field numbers of onnx.proto, by message.
_MODEL_GRAPH = 7
_MODEL_TRAINING = 20
_MODEL_FUNCTION = 25

_GRAPH_NODE = 1
_GRAPH_NAME = 2
_GRAPH_INITIALIZER = 5
_GRAPH_INPUT = 11
_GRAPH_OUTPUT = 12
_GRAPH_VALUE_INFO = 13
_GRAPH_SPARSE_INITIALIZER = 15

_NODE_INPUT = 1
_NODE_OUTPUT = 2
_NODE_OPERATOR = 4
_NODE_ATTRIBUTE = 5
_NODE_DOMAIN = 7
_NODE_OVERLOAD = 8

_ATTRIBUTE_TENSOR = 5
_ATTRIBUTE_GRAPH = 6
_ATTRIBUTE_FLOATS = 7
_ATTRIBUTE_INTS = 8
_ATTRIBUTE_STRINGS = 9
_ATTRIBUTE_VALUES = (_ATTRIBUTE_FLOATS, _ATTRIBUTE_INTS, _ATTRIBUTE_STRINGS)
_ATTRIBUTE_TENSORS = 10
_ATTRIBUTE_GRAPHS = 11
_ATTRIBUTE_TYPE = 14
_ATTRIBUTE_TYPES = 15
_ATTRIBUTE_SPARSE = 22
_ATTRIBUTE_SPARSES = 23

_FUNCTION_NAME = 1
_FUNCTION_NODE = 7
_FUNCTION_DOMAIN = 10
_FUNCTION_ATTRIBUTE = 11
_FUNCTION_VALUE_INFO = 12
_FUNCTION_OVERLOAD = 13

_TRAINING_INITIALIZATION = 1
_TRAINING_ALGORITHM = 2


def require_safe_onnx(path: Path, limits: Limits) -> None:
    """Require that the ONNX file or bundle at `path` has nothing that no network needs.

    Raises:
        Refusal: the codes of `bundle.read`, and `model_invalid`, `model_unsafe`,
            `model_unsupported` or `model_over_limit`.
    """
    archive = bundle.read(path)
    with (
        mapped(path) as whole,
        _model_bytes(archive, path, whole, limits) as view,
    ):
        try:
            _Checker(view, limits, archive).model()
        except protobuf.MalformedMessage as error:
            raise damaged(str(error)) from error


def _model_bytes(
    archive: Bundle | None, path: Path, whole: memoryview, limits: Limits
) -> memoryview:
    """Return the bytes of the model: the whole file, or a member of the bundle, inflated.

    Raises:
        Refusal: `model_over_limit` for a member that would grow too large, `model_invalid` for one
            that cannot be inflated.
    """
    if archive is None:
        return whole[:]
    model = archive.model
    if model.start is not None:
        start, end = model.extent
        return whole[start:end]
    if model.size > limits.inflated_bytes:
        raise over_limit(
            f"the model in the bundle would grow to {model.size} bytes",
            f"at most {limits.inflated_bytes} bytes",
        )
    try:
        with zipfile.ZipFile(path) as packed:
            infos = dict(bundle.plain_files(packed))
            with packed.open(infos[model.name]) as file:
                return memoryview(file.read(model.size))
    except bundle.DAMAGED as error:
        raise damaged(f"the model in the bundle cannot be inflated: {error}") from error


class _Checker:
    """One walk over a model, with the numbers of everything that was walked so far."""

    def __init__(
        self, view: memoryview, limits: Limits, archive: Bundle | None
    ) -> None:
        self._wire = Wire(view, limits)
        self._tensors = Tensors(self._wire, archive)
        self._limits = limits
        self._nodes = 0
        # The names that inner graphs read from outside, counted for every graph that each leaves.
        self._outer_names = 0

    def model(self) -> None:
        """Check the whole model.

        Raises:
            Refusal: `model_invalid`, `model_unsafe`, `model_unsupported` or `model_over_limit`.
            MalformedMessage: the bytes are no protocol-buffers message.
        """
        main = Body()
        functions: dict[FunctionId, Body] = {}
        whole = self._wire.whole()
        for field in self._wire.messages(whole, "the model", once=(_MODEL_GRAPH,)):
            if field.number == _MODEL_GRAPH:
                self._graph(field, main, "the graph", 1)
            elif field.number == _MODEL_TRAINING:
                # Its graphs count as part of the main one: their calls are bounded with it.
                self._training(field, main)
            elif field.number == _MODEL_FUNCTION:
                name, body = self._function(field)
                if name in functions:
                    raise damaged(f"the function {shown(name.name)} is there twice")
                functions[name] = body
        bound_calls(main, functions, self._limits)

    def _training(self, message: Field, main: Body) -> None:
        """Check the graphs for training, which nothing runs, but every parser reads."""
        graphs = (_TRAINING_INITIALIZATION, _TRAINING_ALGORITHM)
        for field in self._wire.messages(message, "training_info", once=graphs):
            if field.number in graphs:
                self._graph(field, main, "training_info", 1)

    def _function(self, message: Field) -> tuple[FunctionId, Body]:
        """Check a local function, and return its identity and its body."""
        body = Body()
        texts: dict[int, bytes] = {}
        nodes = []
        once = (_FUNCTION_NAME, _FUNCTION_DOMAIN, _FUNCTION_OVERLOAD)
        for field in self._wire.messages(message, "a function", once):
            if field.number in once:
                texts[field.number] = self._wire.text(field)
            elif field.number == _FUNCTION_NODE:
                nodes.append(field)
            elif field.number == _FUNCTION_ATTRIBUTE:
                self._attribute(field, body, "a function's attributes", 1)
            elif field.number == _FUNCTION_VALUE_INFO:
                check_value(self._wire, field, "a function")
        name = FunctionId(
            domain=_domain(texts.get(_FUNCTION_DOMAIN, b"")),
            name=texts.get(_FUNCTION_NAME, b""),
            overload=texts.get(_FUNCTION_OVERLOAD, b""),
        )
        # The name may follow the nodes, and refusals of these show it.
        where = f"the function {shown(name.name)}"
        require_order([self._node(node, body, where, 1) for node in nodes], where)
        return name, body

    def _graph(self, message: Field, body: Body, where: str, depth: int) -> set[bytes]:
        """Check a graph, and return the names that it reads from outside."""
        if depth > self._limits.nesting:
            raise over_limit(
                f"{where} nests graphs {depth} deep", f"at most {self._limits.nesting}"
            )
        nodes: list[NodeNames] = []
        own: set[bytes] = set()
        for field in self._wire.messages(message, where, once=(_GRAPH_NAME,)):
            if field.number == _GRAPH_NODE:
                nodes.append(self._node(field, body, where, depth))
            elif field.number == _GRAPH_INITIALIZER:
                own.add(self._tensors.tensor(field, where))
            elif field.number == _GRAPH_SPARSE_INITIALIZER:
                self._tensors.sparse(field, where)
            elif field.number == _GRAPH_INPUT:
                own.add(check_value(self._wire, field, where))
            elif field.number in (_GRAPH_OUTPUT, _GRAPH_VALUE_INFO):
                check_value(self._wire, field, where)
        require_order(nodes, where)
        reads: set[bytes] = set()
        for node in nodes:
            reads |= node.reads
            own.update(node.defines)
        # A graph within a node reads the names of the graphs around it.
        outer = reads - own
        self._outer_names += len(outer)
        if self._outer_names > self._limits.fields:
            raise over_limit(
                f"graphs in {where} read too many names from outside",
                f"at most {self._limits.fields}",
            )
        return outer

    def _node(self, message: Field, body: Body, where: str, depth: int) -> NodeNames:
        """Check a node, and return the names that it reads and defines."""
        body.nodes += 1
        self._nodes += 1
        # Every node counts, in bodies and functions too, before its fields are read.
        if self._nodes > self._limits.nodes:
            raise over_limit(
                "the model has too many nodes", f"at most {self._limits.nodes} nodes"
            )
        names = NodeNames(set(), [])
        texts: dict[int, bytes] = {}
        once = (_NODE_OPERATOR, _NODE_DOMAIN, _NODE_OVERLOAD)
        for field in self._wire.messages(message, f"a node of {where}", once):
            if field.number == _NODE_INPUT:
                names.reads.add(self._wire.text(field))
            elif field.number == _NODE_OUTPUT:
                names.defines.append(self._wire.text(field))
            elif field.number in once:
                texts[field.number] = self._wire.text(field)
            elif field.number == _NODE_ATTRIBUTE:
                names.reads.update(self._attribute(field, body, where, depth))
        function = FunctionId(
            domain=_domain(texts.get(_NODE_DOMAIN, b"")),
            name=texts.get(_NODE_OPERATOR, b""),
            overload=texts.get(_NODE_OVERLOAD, b""),
        )
        body.add_call(function)
        return names

    def _attribute(
        self, message: Field, body: Body, where: str, depth: int
    ) -> set[bytes]:
        """Check an attribute, and return the names that its graphs read from outside."""
        reads: set[bytes] = set()
        values = 0
        once = (_ATTRIBUTE_TENSOR, _ATTRIBUTE_GRAPH, _ATTRIBUTE_TYPE, _ATTRIBUTE_SPARSE)
        for field in self._wire.fields(message, where, once):
            if field.number in _ATTRIBUTE_VALUES:
                values += self._values(field)
            elif field.wire_type != DELIMITED:
                continue
            elif field.number in (_ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS):
                reads |= self._graph(field, body, where, depth + 1)
            elif field.number in (_ATTRIBUTE_TENSOR, _ATTRIBUTE_TENSORS):
                self._tensors.tensor(field, where)
            elif field.number in (_ATTRIBUTE_SPARSE, _ATTRIBUTE_SPARSES):
                self._tensors.sparse(field, where)
            elif field.number in (_ATTRIBUTE_TYPE, _ATTRIBUTE_TYPES):
                check_type(self._wire, field, where, 1)
        if values > self._limits.attribute_values:
            raise over_limit(
                f"an attribute of a node of {where} has {values} values",
                f"at most {self._limits.attribute_values}",
            )
        return reads

    def _values(self, field: Field) -> int:
        """Return the number of values in a field of an attribute's numbers or texts."""
        if field.wire_type != DELIMITED or field.number == _ATTRIBUTE_STRINGS:
            return 1
        if field.number == _ATTRIBUTE_FLOATS:
            return (field.end - field.value) // 4
        return self._wire.count_numbers(field)


def _domain(text: bytes) -> bytes:
    """Return a domain, with one name for ONNX's own, which has two.

    >>> _domain(b"ai.onnx"), _domain(b"acme")
    (b'', b'acme')
    """
    return b"" if text == b"ai.onnx" else text
