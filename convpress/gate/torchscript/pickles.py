"""The pickles of a TorchScript archive, read without building anything: opcodes, globals, and tensors that fit.

torch's own unpickler knows few opcodes and few globals, and takes a tensor's offset, sizes and strides as they stand:
one that reaches beyond its storage reads and writes foreign memory. So the stack is followed here with stand-ins.

Source: torch/csrc/jit/serialization/unpickler.cpp, and the standard library's pickletools.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from convpress.gate.archive import invalid, over_limit, unsafe
from convpress.limits import Limits
from convpress.refusal import Code, Refusal

_ITEM_BYTES = {
    "torch DoubleStorage": 8, "torch FloatStorage": 4, "torch HalfStorage": 2, "torch BFloat16Storage": 2,
    "torch LongStorage": 8, "torch IntStorage": 4, "torch ShortStorage": 2, "torch CharStorage": 1,
    "torch ByteStorage": 1, "torch BoolStorage": 1, "torch ComplexDoubleStorage": 16, "torch ComplexFloatStorage": 8,
}  # fmt: skip
_REBUILD_TENSOR = "torch._utils _rebuild_tensor_v2"
_REBUILD_QUANTISED = "torch._utils _rebuild_qtensor"
_LISTS = frozenset(
    f"torch.jit._pickle build_{kind}list" for kind in ("int", "double", "bool", "tensor")
)
_FUNCTIONS = frozenset(
    {
        _REBUILD_TENSOR,
        "torch._utils _rebuild_parameter",
        "collections OrderedDict",
        *_LISTS,
        "torch.jit._pickle restore_type_tag",
        "torch device",
    }
)
# The opcodes that torch writes, with the bytes of argument that follow: a number, or the size of a text behind it.
_OPCODES = {
    b"(": ("MARK", 0), b"N": ("NONE", 0), b"\x88": ("NEWTRUE", 0), b"\x89": ("NEWFALSE", 0),
    b"J": ("BININT", 4), b"K": ("BININT1", 1), b"M": ("BININT2", 2), b"G": ("BINFLOAT", 8),
    b"\x8a": ("LONG1", -1), b"X": ("BINUNICODE", -4), b"U": ("SHORT_BINSTRING", -1),
    b"q": ("BINPUT", 1), b"r": ("LONG_BINPUT", 4), b"h": ("BINGET", 1), b"j": ("LONG_BINGET", 4),
    b")": ("EMPTY_TUPLE", 0), b"t": ("TUPLE", 0), b"\x85": ("TUPLE1", 0), b"\x86": ("TUPLE2", 0),
    b"\x87": ("TUPLE3", 0), b"]": ("EMPTY_LIST", 0), b"}": ("EMPTY_DICT", 0), b"a": ("APPEND", 0),
    b"e": ("APPENDS", 0), b"s": ("SETITEM", 0), b"u": ("SETITEMS", 0), b"c": ("GLOBAL", None),
    b"R": ("REDUCE", 0), b"\x81": ("NEWOBJ", 0), b"b": ("BUILD", 0), b"Q": ("BINPERSID", 0),
    b"\x80": ("PROTO", 1), b".": ("STOP", 0),
}  # fmt: skip
_BY_BYTE = {code[0]: spec for code, spec in _OPCODES.items()}
_OBJECTS = frozenset({"NEWOBJ", "BUILD", "BINPERSID"})
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_SIGNED = frozenset({"BININT", "LONG1"})
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class _Global(str):
    """The name of a class or function."""

    __slots__ = ()


class _Held:
    """Stands for a list, a dictionary or an object, of which only the depth matters."""

    __slots__ = ("depth", "used")

    def __init__(self) -> None:
        self.depth = 1
        self.used = False  # by a second reference: what is put in from then on might be itself


class _Tuple(tuple[Any, ...]):
    """A tuple that knows how deep it goes."""

    depth: int


class _Storage:
    """A storage of `elements` elements."""

    __slots__ = ("elements",)

    def __init__(self, elements: int) -> None:
        self.elements = elements


_MARK = object()


def check(pickle: bytes, name: str, sizes: Mapping[str, int], limits: Limits) -> None:
    """Check the pickle of member `name`, whose storages are the members of `sizes` (bytes by name).

    Raises:
        Refusal: `model_invalid` for what is no pickle, or tensors beyond their storage; `model_unsafe` for opcodes and
            globals that no archive of a network has; `model_over_limit` for what is nested too deeply.
    """
    machine = _Machine(name, sizes, limits)
    position = 0
    try:
        for position, opcode, argument in _steps(pickle, name, limits):  # noqa: B007 - the handler says where it was
            machine.step(opcode, argument)
    except (ValueError, IndexError, KeyError, TypeError, OverflowError) as error:
        if isinstance(error, Refusal):
            raise
        raise invalid(f"{name} is no pickle behind byte {position} ({error})") from error


def check_plain(pickle: bytes, name: str, limits: Limits) -> None:
    """Check a pickle that holds texts, numbers and containers alone, as the archive's notes on its source do.

    Raises:
        Refusal: as `check` does.
    """
    marks = 0
    position = 0
    try:
        for position, opcode, argument in _steps(pickle, name, limits):  # noqa: B007 - the handler says where it was
            if opcode == "MARK":
                marks += 1
                if marks > limits.nesting:
                    raise over_limit(
                        f"{name} nests values {marks} deep", f"at most {limits.nesting}"
                    )
            elif opcode in ("TUPLE", "APPENDS", "SETITEMS"):
                marks -= 1
            elif opcode == "GLOBAL" and _written(argument) not in _LISTS:
                raise unsafe(
                    f"{name} names {_written(argument)[:100]!r}",
                    "texts, numbers and plain containers",
                )
            elif opcode in _OBJECTS:
                raise unsafe(
                    f"{name} uses the pickle opcode {opcode}", "texts, numbers and plain containers"
                )
    except (ValueError, IndexError) as error:
        if isinstance(error, Refusal):
            raise
        raise invalid(f"{name} is no pickle behind byte {position} ({error})") from error


def _steps(pickle: bytes, name: str, limits: Limits) -> Iterator[tuple[int, str, bytes]]:
    """Yield place, opcode and argument of every step; the last is STOP, and nothing is behind it."""
    position, end, steps = 0, len(pickle), 0
    while position < end:
        spec = _BY_BYTE.get(pickle[position])
        if spec is None:
            raise unsafe(
                f"{name} uses the pickle opcode {pickle[position]:#04x} at byte {position}",
                "the opcodes that torch.jit.save writes",
            )
        steps += 1
        if steps > limits.pickle_steps:
            raise over_limit(f"{name} has too many steps", f"at most {limits.pickle_steps}")
        opcode, length = spec
        start = position + 1
        if length is None:
            stop = pickle.index(b"\n", pickle.index(b"\n", start) + 1) + 1
        elif length < 0:
            start -= length
            stop = start + int.from_bytes(pickle[start + length : start], "little")
        else:
            stop = start + length
        if stop > end:
            raise ValueError("it is cut short")
        yield position, opcode, pickle[start:stop]
        position = stop
        if opcode == "STOP" and position != end:
            raise ValueError("it goes on behind its end")
    if not end or opcode != "STOP":
        raise ValueError("it has no end")


class _Machine:
    """The unpickler's stack and memo."""

    def __init__(self, name: str, sizes: Mapping[str, int], limits: Limits) -> None:
        self._name, self._sizes, self._limits = name, sizes, limits
        self._folder = name.removesuffix(".pkl")
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}

    def step(self, opcode: str, argument: bytes) -> None:
        stack = self._stack
        if opcode in ("BINPUT", "LONG_BINPUT"):
            self._memo[_number(argument)] = stack[-1]
        elif opcode in ("BINGET", "LONG_BINGET"):
            value = self._memo[_number(argument)]
            if isinstance(value, _Held):
                value.used = True
            stack.append(value)
        elif opcode in _CONSTANTS:
            stack.append(_CONSTANTS[opcode])
        elif opcode in ("BINUNICODE", "SHORT_BINSTRING"):
            stack.append(argument.decode())
        elif opcode == "BINFLOAT":
            stack.append(0.0)
        elif opcode in ("BININT", "BININT1", "BININT2", "LONG1"):
            stack.append(int.from_bytes(argument, "little", signed=opcode in _SIGNED))
        elif opcode == "MARK":
            self._marks.append(len(stack))
            stack.append(_MARK)
            self._bound(len(self._marks))
        elif opcode in _TUPLES:
            self._tuple([stack.pop() for _ in range(_TUPLES[opcode])][::-1])
        elif opcode == "TUPLE":
            self._tuple(self._marked())
        elif opcode == "EMPTY_TUPLE":
            self._tuple([])
        elif opcode in ("EMPTY_LIST", "EMPTY_DICT"):
            stack.append(_Held())
        elif opcode == "GLOBAL":
            stack.append(self._global(_written(argument)))
        elif opcode in ("APPENDS", "SETITEMS"):
            self._put(self._marked())
        elif opcode in ("APPEND", "BUILD"):
            self._put([stack.pop()])
        elif opcode == "SETITEM":
            self._put([stack.pop(), stack.pop()])
        elif opcode in ("REDUCE", "NEWOBJ"):
            arguments, callee = stack.pop(), stack.pop()
            stack.append(self._called(opcode, callee, arguments))
        elif opcode == "BINPERSID":
            stack.append(self._storage(stack.pop()))
        elif opcode == "STOP" and len(stack) != 1:
            raise ValueError(f"{len(stack)} values at its end")

    def _marked(self) -> list[Any]:
        mark = self._marks.pop()
        values = self._stack[mark + 1 :]
        del self._stack[mark:]
        return values

    def _tuple(self, values: list[Any]) -> None:
        if any(value is _MARK for value in values):
            raise ValueError("a mark in a tuple")
        made = _Tuple(values)
        made.depth = 1 + max((_depth(value) for value in values), default=0)
        self._bound(made.depth)
        self._stack.append(made)

    def _put(self, values: list[Any]) -> None:
        target = self._stack[-1]
        if not isinstance(target, _Held):
            raise TypeError("items for what holds none")
        if target.used:
            raise unsafe(
                f"{self._name} holds something that may contain itself", "values without cycles"
            )
        target.depth = max([target.depth, *(1 + _depth(value) for value in values)])
        self._bound(target.depth)

    def _bound(self, depth: int) -> None:
        if depth > self._limits.nesting:
            raise over_limit(
                f"{self._name} nests values {depth} deep", f"at most {self._limits.nesting}"
            )

    def _global(self, written: str) -> _Global:
        if written == _REBUILD_QUANTISED:
            raise Refusal(
                Code.MODEL_UNSUPPORTED,
                f"{self._name} holds quantised tensors, which cannot be factored",
                field="model",
                expected="the model as it was before it was quantised",
            )
        if (
            written not in _FUNCTIONS
            and written not in _ITEM_BYTES
            and not written.startswith("__torch__")
        ):
            raise unsafe(
                f"{self._name} names {written[:100]!r}",
                "the model's own classes, tensors and plain containers",
            )
        return _Global(written)

    def _called(self, opcode: str, callee: Any, arguments: Any) -> _Held:  # noqa: ANN401 - stand-ins
        if not isinstance(callee, _Global) or not isinstance(arguments, _Tuple):
            raise TypeError(f"{opcode} of no function")
        if opcode == "REDUCE" and callee not in _FUNCTIONS and not callee.startswith("__torch__"):
            raise unsafe(
                f"{self._name} calls {callee[:100]!r}",
                "calls that build tensors and plain containers",
            )
        if callee == _REBUILD_TENSOR:
            self._tensor(arguments)
        made = _Held()
        made.depth = 1 + arguments.depth
        self._bound(made.depth)
        return made

    def _storage(self, reference: Any) -> _Storage:  # noqa: ANN401 - a stand-in
        if not isinstance(reference, _Tuple) or len(reference) < 5 or reference[0] != "storage":
            raise TypeError("a reference to no storage")
        _, kind, key, _, elements, *_ = reference
        item = _ITEM_BYTES.get(kind)
        if item is None or not isinstance(key, str) or type(elements) is not int:
            raise unsafe(
                f"{self._name} has a storage of kind {str(kind)[:80]!r}",
                "storages of plain numbers",
            )
        member = f"{self._folder}/{key}"
        held = self._sizes.get(member, 0)
        if not 0 <= elements * item <= held:
            raise invalid(
                f"a storage of {elements * item} bytes lies in {member[:100]}, which holds {held}"
            )
        return _Storage(elements)

    def _tensor(self, arguments: _Tuple) -> None:
        storage, offset, size, stride, *_ = arguments
        numbers = [offset, *size, *stride]
        if not isinstance(storage, _Storage) or any(type(number) is not int for number in numbers):
            raise TypeError("a tensor of no numbers")
        last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
        if (
            min(numbers) < 0
            or (0 not in size and last >= storage.elements)
            or offset > storage.elements
        ):
            raise invalid(
                f"{self._name} has a tensor of sizes {tuple(size)[:8]}, strides {tuple(stride)[:8]} and offset "
                f"{offset} on a storage of {storage.elements} elements"
            )


def _depth(value: Any) -> int:  # noqa: ANN401 - a stand-in
    return value.depth if isinstance(value, _Held | _Tuple) else 0


def _number(argument: bytes) -> int:
    return int.from_bytes(argument, "little")


def _written(argument: bytes) -> str:
    """Return a global's module and name, which end with a line each, as one."""
    return argument.decode().rstrip("\n").replace("\n", " ", 1)
