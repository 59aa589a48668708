"""What an ONNX file may be made of, checked on the wire before any library parses it.

Parsers merge a message that is given twice, follow names to other files, inline functions into functions, and believe
the sizes that tensors declare: here each of these is counted, bounded or refused, at the cost of one walk over all but
the weights.

Source: onnx.proto (IR version 13), ONNX's IR.md and ExternalData.md.
"""

import mmap
import zipfile
import zlib
from pathlib import Path

from convpress.gate import bundle, protobuf
from convpress.gate.archive import invalid, over_limit
from convpress.gate.bundle import Bundle
from convpress.gate.onnx.calls import Body, Id, bound_calls, require_order
from convpress.gate.onnx.tensors import Tensors
from convpress.gate.onnx.wire import Wire, shown
from convpress.gate.protobuf import DELIMITED, Field
from convpress.limits import Limits

# ModelProto, GraphProto, NodeProto, AttributeProto, FunctionProto, TrainingInfoProto: which fields hold what.
_GRAPH, _TRAINING, _FUNCTIONS = 7, 20, 25
_NODE, _INITIALIZER, _SPARSE_INITIALIZER = 1, 5, 15
_VALUES = (11, 12, 13)  # inputs, outputs, value_info
_INPUT, _OUTPUT, _OPERATOR, _ATTRIBUTE, _DOMAIN, _OVERLOAD = 1, 2, 4, 5, 7, 8
_A_TENSOR, _A_GRAPH, _A_TENSORS, _A_GRAPHS, _A_TYPE, _A_TYPES, _A_SPARSE, _A_SPARSES = (
    5,
    6,
    10,
    11,
    14,
    15,
    22,
    23,
)
_F_NAME, _F_NODE, _F_DOMAIN, _F_ATTRIBUTES, _F_VALUES, _F_OVERLOAD = 1, 7, 10, 11, 12, 13


def check(path: Path, limits: Limits) -> None:
    """Check the ONNX file, or the bundle of one, at `path`.

    Raises:
        Refusal: what `bundle.read` raises, and `model_invalid`, `model_unsafe`, `model_unsupported` or
            `model_over_limit`, with what was found where.
    """
    archive = bundle.read(path)
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
        memoryview(content) as whole,
        _model_in(archive, path, whole, limits) as view,
    ):
        try:
            _Walk(view, limits, archive).model()
        except protobuf.MalformedMessage as error:
            raise invalid(str(error)) from error


def _model_in(archive: Bundle | None, path: Path, whole: memoryview, limits: Limits) -> memoryview:
    """Return the bytes of the model: the whole file, or a member of the bundle, inflated if need be."""
    if archive is None:
        return whole[:]
    if archive.model.start is not None:
        return whole[slice(*archive.model.extent)]
    if archive.model.size > limits.inflated_bytes:
        raise over_limit(
            f"the model in the bundle would grow to {archive.model.size} bytes",
            f"at most {limits.inflated_bytes} bytes",
        )
    try:
        with zipfile.ZipFile(path) as packed:
            [info] = [info for info in packed.infolist() if info.filename.endswith(bundle.SUFFIX)]
            with packed.open(info) as file:
                return memoryview(file.read(archive.model.size))
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError) as error:
        raise invalid(f"the model in the bundle cannot be inflated: {error}") from error


class _Walk:
    """One pass over a model, with what was counted so far."""

    def __init__(self, view: memoryview, limits: Limits, archive: Bundle | None) -> None:
        self._wire = Wire(view, limits)
        self._tensors = Tensors(self._wire, archive)
        self._nodes = 0

    def model(self) -> None:
        main = Body()
        functions: dict[Id, Body] = {}
        for field in self._wire.fields(self._wire.whole(), "the model", once=(_GRAPH,)):
            if field.wire_type != DELIMITED:
                continue
            if field.number == _GRAPH:
                self._graph(field, main, "graph", 1)
            elif field.number == _TRAINING:
                for inner in self._wire.fields(field, "training_info", once=(1, 2)):
                    if inner.number in (1, 2) and inner.wire_type == DELIMITED:
                        self._graph(inner, main, "training_info", 1)
            elif field.number == _FUNCTIONS:
                name, body = self._function(field)
                if name in functions:
                    raise invalid(f"the function {shown(name[1])} is given twice")
                functions[name] = body
        bound_calls(main, functions, self._wire.limits)

    def _function(self, message: Field) -> tuple[Id, Body]:
        body = Body()
        named: dict[int, bytes] = {}
        nodes = []
        once = (_F_NAME, _F_DOMAIN, _F_OVERLOAD)
        for field in self._wire.fields(message, "a function", once=once):
            if field.wire_type != DELIMITED:
                continue
            if field.number in once:
                named[field.number] = self._wire.text(field)
            elif field.number == _F_NODE:
                nodes.append(field)
            elif field.number == _F_ATTRIBUTES:
                self._attribute(field, body, "a function's attributes", 1)
            elif field.number == _F_VALUES:
                self._tensors.value(field, "a function")
        where = f"function {shown(named.get(_F_NAME, b''))}"
        require_order([self._node(node, body, where, 1) for node in nodes], where)
        return (
            _domain(named.get(_F_DOMAIN, b"")),
            named.get(_F_NAME, b""),
            named.get(_F_OVERLOAD, b""),
        ), body

    def _graph(self, message: Field, body: Body, where: str, depth: int) -> set[bytes]:
        """Check a graph and return the names that it reads from outside."""
        if depth > self._wire.limits.nesting:
            raise over_limit(
                f"{where} nests graphs {depth} deep", f"at most {self._wire.limits.nesting}"
            )
        nodes = []
        given: set[bytes] = set()
        for field in self._wire.fields(message, where, once=(2,)):
            if field.wire_type != DELIMITED:
                continue
            if field.number == _NODE:
                nodes.append(self._node(field, body, where, depth))
            elif field.number == _INITIALIZER:
                given.add(self._tensors.tensor(field, where))
            elif field.number == _SPARSE_INITIALIZER:
                self._tensors.sparse(field, where)
            elif field.number in _VALUES:
                name = self._tensors.value(field, where)
                if field.number == _VALUES[0]:
                    given.add(name)
        require_order(nodes, where)
        made = {name for _, outputs in nodes for name in outputs}
        return {name for inputs, _ in nodes for name in inputs} - made - given

    def _node(
        self, message: Field, body: Body, where: str, depth: int
    ) -> tuple[set[bytes], list[bytes]]:
        """Check a node and return the names that it reads, its graphs included, and those that it makes."""
        body.nodes += 1
        self._nodes += 1
        if self._nodes > self._wire.limits.nodes:
            raise over_limit(
                "the model has too many nodes", f"at most {self._wire.limits.nodes} nodes"
            )
        reads: set[bytes] = set()
        makes: list[bytes] = []
        named: dict[int, bytes] = {}
        once = (_OPERATOR, _DOMAIN, _OVERLOAD)
        for field in self._wire.fields(message, f"a node of {where}", once=once):
            if field.wire_type != DELIMITED:
                continue
            if field.number == _INPUT:
                reads.add(self._wire.text(field))
            elif field.number == _OUTPUT:
                makes.append(self._wire.text(field))
            elif field.number in once:
                named[field.number] = self._wire.text(field)
            elif field.number == _ATTRIBUTE:
                reads |= self._attribute(field, body, where, depth)
        called = (
            _domain(named.get(_DOMAIN, b"")),
            named.get(_OPERATOR, b""),
            named.get(_OVERLOAD, b""),
        )
        body.calls[called] = body.calls.get(called, 0) + 1
        return reads, makes

    def _attribute(self, message: Field, body: Body, where: str, depth: int) -> set[bytes]:
        reads: set[bytes] = set()
        for field in self._wire.fields(
            message, where, once=(_A_TENSOR, _A_GRAPH, _A_TYPE, _A_SPARSE)
        ):
            if field.wire_type != DELIMITED:
                continue
            if field.number in (_A_GRAPH, _A_GRAPHS):
                reads |= self._graph(field, body, where, depth + 1)
            elif field.number in (_A_TENSOR, _A_TENSORS):
                self._tensors.tensor(field, where)
            elif field.number in (_A_SPARSE, _A_SPARSES):
                self._tensors.sparse(field, where)
            elif field.number in (_A_TYPE, _A_TYPES):
                self._tensors.type(field, where, 1)
        return reads


def _domain(written: bytes) -> bytes:
    """ONNX's own domain has two names."""
    return b"" if written == b"ai.onnx" else written
