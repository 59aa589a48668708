"""The pickles of a TorchScript archive: opcodes, globals and tensors, read without building them.

torch's own unpickler knows few opcodes and few globals, and believes a tensor's offset, sizes and
strides: a tensor that reaches beyond its storage reads and writes foreign memory. So the stack is
followed here with stand-ins for all values.

Source: torch/csrc/jit/serialization/unpickler.cpp, and the standard library's pickletools.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from convpress.gate.refusals import damaged, over_limit, unsafe, unsupported
from convpress.gate.torchscript.opcodes import BY_BYTE
from convpress.limits import Limits
from convpress.refusal import Refusal

# The bytes of one number in each kind of storage.
_ITEM_BYTES = {
    "torch DoubleStorage": 8,
    "torch FloatStorage": 4,
    "torch HalfStorage": 2,
    "torch BFloat16Storage": 2,
    "torch LongStorage": 8,
    "torch IntStorage": 4,
    "torch ShortStorage": 2,
    "torch CharStorage": 1,
    "torch ByteStorage": 1,
    "torch BoolStorage": 1,
    "torch ComplexDoubleStorage": 16,
    "torch ComplexFloatStorage": 8,
}
_REBUILD_TENSOR = "torch._utils _rebuild_tensor_v2"
_REBUILD_QUANTISED = "torch._utils _rebuild_qtensor"
_LISTS = frozenset(
    {
        "torch.jit._pickle build_intlist",
        "torch.jit._pickle build_doublelist",
        "torch.jit._pickle build_boollist",
        "torch.jit._pickle build_tensorlist",
    }
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
# The names of the model's own classes begin so.
_OWN = "__torch__"
_OBJECTS = frozenset({"NEWOBJ", "BUILD", "BINPERSID"})
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_INTEGERS = frozenset({"BININT", "BININT1", "BININT2", "LONG1"})
_SIGNED = frozenset({"BININT", "LONG1"})
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_PLAIN = "texts, numbers and plain containers"


class _Global(str):
    """The name of a class or function."""

    __slots__ = ()


class _Container:
    """Stands for a list, a dictionary or an object, of which only the depth matters."""

    __slots__ = ("depth", "is_shared")

    def __init__(self) -> None:
        self.depth = 1
        # There is a second reference to it: items that follow may be the container itself.
        self.is_shared = False


class _Tuple(tuple[Any, ...]):
    """A tuple with its depth."""

    depth: int


class _Storage:
    """A storage of `elements` numbers."""

    __slots__ = ("elements",)

    def __init__(self, elements: int) -> None:
        self.elements = elements


_MARK = object()


class _Step(NamedTuple):
    position: int
    opcode: str
    argument: bytes


def require_safe_pickle(pickle: bytes, name: str, sizes: Mapping[str, int], limits: Limits) -> None:
    """Require that the pickle of member `name` builds tensors, containers and own classes alone.

    `sizes` holds the sizes of the archive's members in bytes, by name: storages are members.

    Raises:
        Refusal: `model_invalid` for bytes that are no pickle and tensors beyond their storage,
            `model_unsafe` for opcodes and globals that no archive of a network has,
            `model_over_limit` for deep nesting, `model_unsupported` for quantised tensors.
    """
    machine = _Machine(name, sizes, limits)
    position = 0
    try:
        for step in _steps(pickle, name, limits):
            position = step.position
            machine.run(step.opcode, step.argument)
    except Refusal:
        # A Refusal is a ValueError too.
        raise
    except (ValueError, IndexError, KeyError, TypeError, OverflowError) as error:
        raise _no_pickle(name, position, error) from error


def require_safe_notes(pickle: bytes, name: str, limits: Limits) -> None:
    """Require a pickle of texts, numbers and containers alone, as the notes on source code are.

    Raises:
        Refusal: the codes of `require_safe_pickle`.
    """
    marks = 0
    position = 0
    try:
        for step in _steps(pickle, name, limits):
            position = step.position
            if step.opcode == "MARK":
                marks += 1
                _bound_depth(name, marks, limits)
            elif step.opcode in ("TUPLE", "APPENDS", "SETITEMS"):
                marks -= 1
            elif step.opcode == "GLOBAL":
                function = _global_name(step.argument)
                if function not in _LISTS:
                    raise unsafe(f"{name} names {function[:100]!r}", _PLAIN)
            elif step.opcode in _OBJECTS:
                raise unsafe(f"{name} uses the pickle opcode {step.opcode}", _PLAIN)
    except Refusal:
        # A Refusal is a ValueError too.
        raise
    except (ValueError, IndexError) as error:
        raise _no_pickle(name, position, error) from error


def _no_pickle(name: str, position: int, error: Exception) -> Refusal:
    return damaged(f"{name} is no pickle after byte {position} ({error})")


def _bound_depth(name: str, depth: int, limits: Limits) -> None:
    if depth > limits.nesting:
        raise over_limit(f"{name} nests values {depth} deep", f"at most {limits.nesting}")


def _steps(pickle: bytes, name: str, limits: Limits) -> Iterator[_Step]:
    """Yield the steps of a pickle; the last one is STOP, at the end of the bytes.

    Raises:
        Refusal: `model_unsafe` for other opcodes than torch's, `model_over_limit` for too many.
        ValueError: the bytes are no pickle.
    """
    position = 0
    end = len(pickle)
    steps = 0
    opcode = ""
    while position < end:
        spec = BY_BYTE.get(pickle[position])
        if spec is None:
            raise unsafe(
                f"{name} uses the pickle opcode {pickle[position]:#04x} at byte {position}",
                "the opcodes that torch.jit.save writes",
            )
        steps += 1
        if steps > limits.pickle_steps:
            raise over_limit(f"{name} has too many steps", f"at most {limits.pickle_steps}")
        opcode = spec.name
        start, stop = spec.argument(pickle, position + 1)
        if stop > end:
            raise ValueError("it is cut short")
        yield _Step(position, opcode, pickle[start:stop])
        position = stop
        if opcode == "STOP" and position != end:
            raise ValueError("it goes on after its end")
    if opcode != "STOP":
        raise ValueError("it has no end")


class _Machine:
    """The unpickler's stack and memo, with stand-ins for all values but numbers and texts."""

    def __init__(self, name: str, sizes: Mapping[str, int], limits: Limits) -> None:
        self._name = name
        self._sizes = sizes
        self._limits = limits
        # The storages of `data.pkl` are in the folder `data`.
        self._folder = name.removesuffix(".pkl")
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}

    def run(self, opcode: str, argument: bytes) -> None:
        """Do one step.

        Raises:
            Refusal: `model_unsafe`, `model_over_limit`, `model_unsupported` or `model_invalid`.
            ValueError, IndexError, KeyError, TypeError: the step does not fit the stack.
        """
        stack = self._stack
        if opcode in ("BINPUT", "LONG_BINPUT"):
            self._memo[_number(argument)] = stack[-1]
        elif opcode in ("BINGET", "LONG_BINGET"):
            self._recall(_number(argument))
        elif opcode in _CONSTANTS:
            stack.append(_CONSTANTS[opcode])
        elif opcode in ("BINUNICODE", "SHORT_BINSTRING"):
            stack.append(argument.decode())
        elif opcode == "BINFLOAT":
            # No check depends on the value of a fraction.
            stack.append(0.0)
        elif opcode in _INTEGERS:
            number = int.from_bytes(argument, "little", signed=opcode in _SIGNED)
            stack.append(number)
        elif opcode == "MARK":
            self._marks.append(len(stack))
            stack.append(_MARK)
            self._bound(len(self._marks))
        elif opcode in _TUPLES:
            values = [stack.pop() for _ in range(_TUPLES[opcode])]
            self._push_tuple(values[::-1])
        elif opcode == "TUPLE":
            self._push_tuple(self._pop_marked())
        elif opcode == "EMPTY_TUPLE":
            self._push_tuple([])
        elif opcode in ("EMPTY_LIST", "EMPTY_DICT"):
            stack.append(_Container())
        elif opcode == "GLOBAL":
            stack.append(self._global(_global_name(argument)))
        elif opcode in ("APPENDS", "SETITEMS"):
            self._put(self._pop_marked())
        elif opcode in ("APPEND", "BUILD"):
            self._put([stack.pop()])
        elif opcode == "SETITEM":
            self._put([stack.pop(), stack.pop()])
        elif opcode in ("REDUCE", "NEWOBJ"):
            arguments = stack.pop()
            function = stack.pop()
            stack.append(self._call(opcode, function, arguments))
        elif opcode == "BINPERSID":
            stack.append(self._storage(stack.pop()))
        elif opcode == "STOP" and len(stack) != 1:
            raise ValueError(f"{len(stack)} values at its end")

    def _recall(self, number: int) -> None:
        value = self._memo[number]
        if isinstance(value, _Container):
            value.is_shared = True
        self._stack.append(value)

    def _pop_marked(self) -> list[Any]:
        """Remove the values after the last mark, and the mark, and return the values."""
        # Marks are kept apart: searching the stack for one would take quadratic time.
        mark = self._marks.pop()
        values = self._stack[mark + 1 :]
        del self._stack[mark:]
        return values

    def _push_tuple(self, values: Sequence[Any]) -> None:
        if any(value is _MARK for value in values):
            raise ValueError("a mark in a tuple")
        new = _Tuple(values)
        new.depth = 1 + max((_depth(value) for value in values), default=0)
        self._bound(new.depth)
        self._stack.append(new)

    def _put(self, items: Iterable[Any]) -> None:
        """Put items into the container at the end of the stack."""
        container = self._stack[-1]
        if not isinstance(container, _Container):
            raise TypeError("items for a value that holds none")
        # A container within itself would have no end.
        if container.is_shared:
            raise unsafe(
                f"{self._name} holds something that may contain itself", "values without cycles"
            )
        for item in items:
            container.depth = max(container.depth, 1 + _depth(item))
        self._bound(container.depth)

    def _bound(self, depth: int) -> None:
        _bound_depth(self._name, depth, self._limits)

    def _global(self, name: str) -> _Global:
        # Quantised models are honest: tell their owners what to do.
        if name == _REBUILD_QUANTISED:
            raise unsupported(
                f"{self._name} holds quantised tensors, which cannot be factored",
                "the model as it was before it was quantised",
            )
        is_known = name in _FUNCTIONS or name in _ITEM_BYTES
        if not is_known and not name.startswith(_OWN):
            raise unsafe(
                f"{self._name} names {name[:100]!r}",
                "the model's own classes, tensors and plain containers",
            )
        return _Global(name)

    def _call(self, opcode: str, function: Any, arguments: Any) -> _Container:  # noqa: ANN401 - stand-ins
        if not isinstance(function, _Global):
            raise TypeError(f"{opcode} of no function")
        is_own = function.startswith(_OWN)
        # torch writes a value of an enumeration as a call without a tuple.
        if opcode == "REDUCE" and is_own and type(arguments) in (str, int, float):
            return _Container()
        if not isinstance(arguments, _Tuple):
            raise TypeError(f"{opcode} of no arguments")
        is_known = function in _FUNCTIONS or is_own
        if opcode == "REDUCE" and not is_known:
            raise unsafe(
                f"{self._name} calls {function[:100]!r}",
                "calls that build tensors and plain containers",
            )
        if function == _REBUILD_TENSOR:
            self._require_tensor_in_storage(arguments)
        result = _Container()
        result.depth = 1 + arguments.depth
        self._bound(result.depth)
        return result

    def _storage(self, reference: Any) -> _Storage:  # noqa: ANN401 - a stand-in
        """Return the storage of a reference, whose member must be large enough."""
        if not isinstance(reference, _Tuple) or len(reference) < 5 or reference[0] != "storage":
            raise TypeError("a reference to no storage")
        _, kind, key, _, elements, *_ = reference
        item_bytes = _ITEM_BYTES.get(kind)
        # A truth value is an int to Python, but no number of elements.
        if item_bytes is None or not isinstance(key, str) or type(elements) is not int:
            raise unsafe(
                f"{self._name} has a storage of kind {str(kind)[:80]!r}",
                "storages of plain numbers",
            )
        member = f"{self._folder}/{key}"
        member_bytes = self._sizes.get(member, 0)
        storage_bytes = elements * item_bytes
        if not 0 <= storage_bytes <= member_bytes:
            raise damaged(
                f"a storage of {storage_bytes} bytes is in {member[:100]}, which has {member_bytes}"
            )
        return _Storage(elements)

    def _require_tensor_in_storage(self, arguments: _Tuple) -> None:
        """Require that a tensor, of these arguments of its function, stays within its storage."""
        storage, offset, sizes, strides, *_ = arguments
        numbers = [offset, *sizes, *strides]
        if not isinstance(storage, _Storage) or any(type(number) is not int for number in numbers):
            raise TypeError("a tensor of no numbers")
        last = offset
        for size, stride in zip(sizes, strides, strict=True):
            last += (size - 1) * stride
        # A tensor with an axis of 0 elements has no last one.
        reaches_beyond = 0 not in sizes and last >= storage.elements
        if min(numbers) < 0 or offset > storage.elements or reaches_beyond:
            raise damaged(
                f"{self._name} has a tensor of sizes {tuple(sizes)[:8]}, strides "
                f"{tuple(strides)[:8]} and offset {offset} on a storage of {storage.elements} "
                "elements"
            )


def _depth(value: Any) -> int:  # noqa: ANN401 - a stand-in
    return value.depth if isinstance(value, _Container | _Tuple) else 0


def _number(argument: bytes) -> int:
    return int.from_bytes(argument, "little")


def _global_name(argument: bytes) -> str:
    r"""Return the module and the name of a global, which are a line each, with a space between.

    >>> _global_name(b"collections\nOrderedDict\n")
    'collections OrderedDict'
    """
    return argument.decode().rstrip("\n").replace("\n", " ", 1)
