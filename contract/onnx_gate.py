"""What an ONNX file may be made of, checked on the wire before any library parses it.

Parsers merge a message that is given twice, follow names to other files, inline functions into functions, and believe
the sizes that tensors declare: here each of these is counted, bounded or refused, at the cost of one walk over all but
the weights.

Source: onnx.proto (IR version 13), ONNX's IR.md and ExternalData.md.
"""

import mmap
from collections.abc import Iterable, Mapping
from math import prod
from pathlib import Path

from contract import protobuf
from contract.archive import invalid, over_limit, unsafe
from contract.limits import Limits
from contract.protobuf import DELIMITED, FIXED32, FIXED64, VARINT, Field
from contract.refusal import Code, Refusal

# ModelProto, GraphProto, NodeProto, AttributeProto, FunctionProto, TrainingInfoProto: which fields hold what.
_GRAPH, _TRAINING, _FUNCTIONS = 7, 20, 25
_NODE, _INITIALIZER, _SPARSE_INITIALIZER = 1, 5, 15
_VALUES = (11, 12, 13)  # inputs, outputs, value_info
_INPUT, _OUTPUT, _OPERATOR, _ATTRIBUTE, _DOMAIN, _OVERLOAD = 1, 2, 4, 5, 7, 8
_A_TENSOR, _A_GRAPH, _A_TENSORS, _A_GRAPHS, _A_TYPE, _A_TYPES, _A_SPARSE, _A_SPARSES = 5, 6, 10, 11, 14, 15, 22, 23
_F_NAME, _F_NODE, _F_DOMAIN, _F_ATTRIBUTES, _F_VALUES, _F_OVERLOAD = 1, 7, 10, 11, 12, 13
_T_DIMS, _T_TYPE, _T_RAW, _T_EXTERNAL, _T_LOCATION = 1, 2, 9, 13, 14
_T_STRINGS, _T_FLOATS, _T_DOUBLES = 6, 4, 10
_T_VARINTS = (5, 7, 11)  # int32_data, int64_data, uint64_data
_EXTERNAL_KEYS = frozenset({b"location", b"offset", b"length", b"checksum"})
_LONGEST_NAME = 255

_BITS = {1: 32, 2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 64, 9: 8, 10: 16, 11: 64, 12: 32, 13: 64, 14: 64, 15: 128,
         16: 16, 17: 8, 18: 8, 19: 8, 20: 8, 21: 4, 22: 4, 23: 4, 24: 8, 25: 2, 26: 2}  # fmt: skip
_STRING = 8
_PARTS = {14: 2, 15: 2}  # a complex number is two in float_data or double_data

Id = tuple[bytes, bytes, bytes]
"""What names a local function: domain, name, overload."""


def check(
    path: Path, limits: Limits, bundle: Mapping[str, int] | None = None, start: int = 0, end: int | None = None
) -> None:
    """Check the ONNX model at `path`, or from byte `start` to byte `end` of it.

    `bundle` has the sizes of the files that came with it, by name: the only ones that it may refer to.

    Raises:
        Refusal: `model_invalid`, `model_unsafe`, `model_unsupported` or `model_over_limit`, with what was found where.
    """
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
        memoryview(content)[start:end] as view,
    ):
        try:
            _Walk(view, limits, bundle or {}).model()
        except protobuf.MalformedMessage as error:
            raise invalid(str(error)) from error


class _Body:
    """What a graph or function comes to: its own nodes, and its calls of other operators, each with its number."""

    def __init__(self) -> None:
        self.nodes = 0
        self.calls: dict[Id, int] = {}


class _Walk:
    """One pass over a model, with what was counted so far."""

    def __init__(self, view: memoryview, limits: Limits, bundle: Mapping[str, int]) -> None:
        self._view, self._limits, self._bundle = view, limits, bundle
        self._nodes = self._tensors = self._walked = 0

    def model(self) -> None:
        main = _Body()
        functions: dict[Id, _Body] = {}
        for field in self._fields(0, len(self._view), "the model", once=(_GRAPH,)):
            if field.wire_type != DELIMITED:
                continue
            if field.number == _GRAPH:
                self._graph(field, main, "graph", 1)
            elif field.number == _TRAINING:
                for inner in self._fields(field.value, field.end, "training_info", once=(1, 2)):
                    if inner.number in (1, 2) and inner.wire_type == DELIMITED:
                        self._graph(inner, main, "training_info", 1)
            elif field.number == _FUNCTIONS:
                name, body = self._function(field)
                if name in functions:
                    raise invalid(f"the function {_shown(name[1])} is given twice")
                functions[name] = body
        self._bound_calls(main, functions)

    def _function(self, message: Field) -> tuple[Id, _Body]:
        body = _Body()
        named: dict[int, bytes] = {}
        nodes = []
        once = (_F_NAME, _F_DOMAIN, _F_OVERLOAD)
        for field in self._fields(message.value, message.end, "a function", once=once):
            if field.wire_type != DELIMITED:
                continue
            if field.number in once:
                named[field.number] = self._bytes(field)
            elif field.number == _F_NODE:
                nodes.append(field)
            elif field.number == _F_ATTRIBUTES:
                self._attribute(field, body, "a function's attributes", 1)
            elif field.number == _F_VALUES:
                self._value(field, "a function")
        where = f"function {_shown(named.get(_F_NAME, b''))}"
        self._acyclic([self._node(node, body, where, 1) for node in nodes], where)
        return (_domain(named.get(_F_DOMAIN, b"")), named.get(_F_NAME, b""), named.get(_F_OVERLOAD, b"")), body

    def _graph(self, message: Field, body: _Body, where: str, depth: int) -> set[bytes]:
        """Check a graph and return the names that it reads from outside."""
        if depth > self._limits.nesting:
            raise over_limit(f"{where} nests graphs {depth} deep", f"at most {self._limits.nesting}")
        nodes = []
        given: set[bytes] = set()
        for field in self._fields(message.value, message.end, where, once=(2,)):
            if field.wire_type != DELIMITED:
                continue
            if field.number == _NODE:
                nodes.append(self._node(field, body, where, depth))
            elif field.number == _INITIALIZER:
                given.add(self._tensor(field, where))
            elif field.number == _SPARSE_INITIALIZER:
                self._sparse(field, where)
            elif field.number in _VALUES:
                name = self._value(field, where)
                if field.number == _VALUES[0]:
                    given.add(name)
        self._acyclic(nodes, where)
        made = {name for _, outputs in nodes for name in outputs}
        return {name for inputs, _ in nodes for name in inputs} - made - given

    def _node(self, message: Field, body: _Body, where: str, depth: int) -> tuple[set[bytes], list[bytes]]:
        """Check a node and return the names that it reads, its graphs included, and those that it makes."""
        body.nodes += 1
        self._nodes += 1
        if self._nodes > self._limits.nodes:
            raise over_limit("the model has too many nodes", f"at most {self._limits.nodes} nodes")
        reads: set[bytes] = set()
        makes: list[bytes] = []
        named: dict[int, bytes] = {}
        for field in self._fields(
            message.value, message.end, f"a node of {where}", once=(_OPERATOR, _DOMAIN, _OVERLOAD)
        ):
            if field.wire_type != DELIMITED:
                continue
            if field.number == _INPUT:
                reads.add(self._bytes(field))
            elif field.number == _OUTPUT:
                makes.append(self._bytes(field))
            elif field.number in (_OPERATOR, _DOMAIN, _OVERLOAD):
                named[field.number] = self._bytes(field)
            elif field.number == _ATTRIBUTE:
                reads |= self._attribute(field, body, where, depth)
        called = (_domain(named.get(_DOMAIN, b"")), named.get(_OPERATOR, b""), named.get(_OVERLOAD, b""))
        body.calls[called] = body.calls.get(called, 0) + 1
        return reads, makes

    def _attribute(self, message: Field, body: _Body, where: str, depth: int) -> set[bytes]:
        reads: set[bytes] = set()
        for field in self._fields(message.value, message.end, where, once=(_A_TENSOR, _A_GRAPH, _A_TYPE, _A_SPARSE)):
            if field.wire_type != DELIMITED:
                continue
            if field.number in (_A_GRAPH, _A_GRAPHS):
                reads |= self._graph(field, body, where, depth + 1)
            elif field.number in (_A_TENSOR, _A_TENSORS):
                self._tensor(field, where)
            elif field.number in (_A_SPARSE, _A_SPARSES):
                self._sparse(field, where)
            elif field.number in (_A_TYPE, _A_TYPES):
                self._type(field, where, 1)
        return reads

    def _sparse(self, message: Field, where: str) -> None:
        dims: list[int] = []
        for field in self._fields(message.value, message.end, where, once=(1, 2)):
            if field.number in (1, 2) and field.wire_type == DELIMITED:
                self._tensor(field, where)
            elif field.number == 3:
                dims += self._numbers(field)
        self._bound_size(dims, 64, f"a sparse tensor of {where}")

    def _tensor(self, message: Field, where: str) -> bytes:
        """Check that a tensor's data is what its shape needs, and return its name."""
        self._tensors += 1
        if self._tensors > self._limits.tensors:
            raise over_limit("the model has too many tensors", f"at most {self._limits.tensors} tensors")
        dims: list[int] = []
        name, kind, raw, external, located, held = b"", 0, None, [], 0, 0
        once = (_T_TYPE, 3, 8, _T_RAW, _T_LOCATION)
        for field in self._fields(message.value, message.end, f"a tensor of {where}", once=once):
            number, size = field.number, field.end - field.value
            if number == _T_DIMS:
                dims += self._numbers(field)
            elif number == _T_TYPE and field.wire_type == VARINT:
                kind = self._varint(field)
            elif number == 8:
                name = self._bytes(field)
            elif number == _T_RAW:
                raw = size
            elif number == _T_EXTERNAL:
                external.append(field)
            elif number == _T_LOCATION and field.wire_type == VARINT:
                located = self._varint(field)
            elif number in (_T_FLOATS, _T_DOUBLES):
                held += size // (4 if number == _T_FLOATS else 8) if field.wire_type == DELIMITED else 1
            elif number in _T_VARINTS:
                held += self._count_varints(field) if field.wire_type == DELIMITED else 1
            elif number == _T_STRINGS:
                held += 1
        shown = f"the tensor {_shown(name)} of {where}"
        bits = _BITS.get(kind)
        if bits is None and kind != _STRING:
            raise invalid(f"{shown} has the element type {kind}, which does not exist")
        elements = self._bound_size(dims, bits or 8, shown)
        if located == 1 or external:
            self._external(external, (elements * (bits or 0) + 7) // 8, shown)
        else:
            self._filled(shown, dims, elements, kind, raw, held)
        return name

    def _filled(self, shown: str, dims: list[int], elements: int, kind: int, raw: int | None, held: int) -> None:
        bits = _BITS.get(kind, 0)
        if raw is not None and kind != _STRING:
            full = raw == (elements * bits + 7) // 8
        else:
            packed = 8 // bits if bits in (2, 4) else 1
            full = held == -(-elements // packed) * _PARTS.get(kind, 1)
        if not full:
            given = f"{held} elements" if raw is None else f"{raw} bytes"
            raise invalid(f"{shown} has the shape {tuple(dims)[:16]} and {given} of data")

    def _external(self, entries: list[Field], needed: int, shown: str) -> None:
        """Check a tensor in another file: one of the upload's own, named by nothing but its name, and long enough."""
        said: dict[bytes, bytes] = {}
        for entry in entries:
            pair: dict[int, bytes] = {}
            for field in self._fields(entry.value, entry.end, shown, once=(1, 2)):
                if field.number in (1, 2) and field.wire_type == DELIMITED:
                    pair[field.number] = self._bytes(field)
            key = pair.get(1, b"")
            if key in said or key not in _EXTERNAL_KEYS:
                raise unsafe(
                    f"{shown} says {_shown(key)} of its file, or says it twice", "location, offset, length, checksum"
                )
            said[key] = pair.get(2, b"")
        location = said.get(b"location", b"").decode(errors="replace")
        if not location or len(location) > _LONGEST_NAME or set(location) & set("/\\\0:") or location in (".", ".."):
            raise unsafe(
                f"{shown} lies in the file {location[:100]!r}", "a plain name of a file that was uploaded with it"
            )
        if location not in self._bundle:
            raise Refusal(
                Code.MODEL_UNSUPPORTED,
                f"{shown} lies in another file, {location[:100]!r}, which was not uploaded; send both as one zip or "
                "tar archive, or save the model as one file (onnx.save with save_as_external_data=False)",
                field="model",
                expected="an ONNX file that holds its weights, or a bundle of it and the files that do",
                got="a model with external data",
            )
        try:
            offset, length = (int(said.get(key, b"0") or b"0") for key in (b"offset", b"length"))
        except ValueError as error:
            raise invalid(f"{shown} lies at no number of bytes in {location}") from error
        length = length if b"length" in said else needed
        if offset < 0 or length != needed or offset + length > self._bundle[location]:
            raise invalid(f"{shown} needs {needed} bytes, and is said to lie at {offset} with {length} in {location}")

    def _value(self, message: Field, where: str) -> bytes:
        """Check the declared type of an input, output or value, and return its name."""
        name = b""
        for field in self._fields(message.value, message.end, f"a value of {where}", once=(1, 2)):
            if field.number == 1:
                name = self._bytes(field)
            elif field.number == 2 and field.wire_type == DELIMITED:
                self._type(field, f"{_shown(name)} of {where}", 1)
        return name

    def _type(self, message: Field, where: str, depth: int) -> None:
        if depth > self._limits.nesting:
            raise over_limit(f"the type of {where} is nested {depth} deep", f"at most {self._limits.nesting}")
        for field in self._fields(message.value, message.end, where):
            if field.wire_type != DELIMITED:
                continue
            if field.number in (1, 8):
                self._tensor_type(field, where)
            elif field.number in (4, 5, 9):  # a sequence, a map, an optional: the type inside has field 1 or 2
                for inner in self._fields(field.value, field.end, where, once=(1, 2)):
                    if inner.number == (2 if field.number == 5 else 1) and inner.wire_type == DELIMITED:
                        self._type(inner, where, depth + 1)

    def _tensor_type(self, message: Field, where: str) -> None:
        kind, dims = 1, []
        for field in self._fields(message.value, message.end, where, once=(1, 2)):
            if field.number == 1 and field.wire_type == VARINT:
                kind = self._varint(field)
            elif field.number == 2 and field.wire_type == DELIMITED:
                for dim in self._fields(field.value, field.end, where):
                    parts = self._fields(dim.value, dim.end, where, once=(1, 2))
                    dims += [self._varint(part) for part in parts if part.number == 1 and part.wire_type == VARINT]
        self._bound_size(
            [dim for dim in map(_signed, dims) if dim > 0], _BITS.get(kind, 8), f"the declared shape of {where}"
        )

    def _bound_size(self, dims: list[int], bits: int, shown: str) -> int:
        if len(dims) > self._limits.nesting or any(dim < 0 for dim in dims):
            raise invalid(f"{shown} has the shape {tuple(dims)[:16]}")
        elements = prod(dims)
        if prod(dim for dim in dims if dim) * bits // 8 > self._limits.tensor_bytes:
            raise over_limit(
                f"{shown} declares the shape {tuple(dims)[:16]}", f"at most {self._limits.tensor_bytes} bytes"
            )
        return elements

    def _acyclic(self, nodes: list[tuple[set[bytes], list[bytes]]], where: str) -> None:
        """Check that no node needs what it helps to make."""
        maker = {name: index for index, (_, makes) in enumerate(nodes) for name in makes if name}
        needs = [{maker[name] for name in reads if name in maker} for reads, _ in nodes]
        if all(max(needed, default=-1) < index for index, needed in enumerate(needs)):
            return  # in order already, as nearly all are
        users: list[list[int]] = [[] for _ in nodes]
        for index, needed in enumerate(needs):
            for other in needed:
                users[other].append(index)
        waiting = [len(needed) for needed in needs]
        ready = [index for index, count in enumerate(waiting) if not count]
        done = 0
        while ready:
            done += 1
            for user in users[ready.pop()]:
                waiting[user] -= 1
                if not waiting[user]:
                    ready.append(user)
        if done != len(nodes):
            raise invalid(f"{len(nodes) - done} nodes of {where} need each other's outputs")

    def _bound_calls(self, main: _Body, functions: Mapping[Id, _Body]) -> None:
        """Check that functions call each other without cycles, not too deeply, and stand for not too many nodes."""
        known: dict[Id, tuple[int, int]] = {}  # depth and nodes of a function with all that it calls

        def measure(body: _Body, depths: Iterable[tuple[int, int, int]]) -> tuple[int, int]:
            deepest, nodes = 0, body.nodes
            for count, depth, inner in depths:
                deepest, nodes = max(deepest, depth), nodes + count * inner
            if deepest >= self._limits.nesting:
                raise over_limit(f"functions call functions {deepest} deep", f"at most {self._limits.nesting}")
            if nodes > self._limits.nodes:
                raise over_limit(
                    "the model's functions stand for too many nodes", f"at most {self._limits.nodes} nodes"
                )
            return deepest + 1, nodes

        open_calls: set[Id] = set()
        stack = list(functions)
        while stack:
            name = stack[-1]
            if name in known:
                stack.pop()
                continue
            calls = {called: count for called, count in functions[name].calls.items() if called in functions}
            missing = [called for called in calls if called not in known]
            if not missing:
                known[name] = measure(functions[name], ((count, *known[called]) for called, count in calls.items()))
                open_calls.discard(name)
                stack.pop()
                continue
            open_calls.add(name)
            if open_calls.intersection(missing):
                raise invalid(f"the function {_shown(name[1])} calls itself")
            stack += missing
        measure(main, ((count, *known[called]) for called, count in main.calls.items() if called in known))

    def _fields(self, start: int, end: int, where: str, once: tuple[int, ...] = ()) -> Iterable[Field]:
        """Yield the fields of a message; those of `once` may not come twice, for parsers would merge the two."""
        seen: set[int] = set()
        for field in protobuf.fields(self._view, start, end):
            self._walked += 1
            if self._walked > self._limits.fields:
                raise over_limit("the model has too many fields", f"at most {self._limits.fields}")
            if field.number in once:
                if field.number in seen:
                    raise invalid(f"field {field.number} of {where} is given twice, at byte {field.start}")
                seen.add(field.number)
            yield field

    def _bytes(self, field: Field) -> bytes:
        return bytes(self._view[field.value : field.end])

    def _varint(self, field: Field) -> int:
        return protobuf.read_varint(self._view, field.value, field.end)[0]

    def _numbers(self, field: Field) -> list[int]:
        """Return the integers of a repeated field, packed or one by one."""
        if field.wire_type == VARINT:
            return [_signed(self._varint(field))]
        if field.wire_type in (FIXED32, FIXED64):
            return []
        numbers: list[int] = []
        position = field.value
        while position < field.end and len(numbers) <= self._limits.nesting:
            number, position = protobuf.read_varint(self._view, position, field.end)
            numbers.append(_signed(number))
        return numbers

    def _count_varints(self, field: Field) -> int:
        """Return how many varints a packed field holds: each has one byte below 128, its last."""
        count = 0
        for start in range(field.value, field.end, _AT_ONCE):
            count += len(bytes(self._view[start : min(field.end, start + _AT_ONCE)]).translate(None, _CONTINUED))
        return count


_AT_ONCE = 1 << 20
_CONTINUED = bytes(range(128, 256))


def _signed(number: int) -> int:
    return number - (1 << 64) if number >> 63 else number


def _domain(written: bytes) -> bytes:
    """ONNX's own domain has two names."""
    return b"" if written == b"ai.onnx" else written


def _shown(name: bytes) -> str:
    return repr(name[:80].decode(errors="replace"))
