"""A stand-in for torch's unpickler: it follows the stack of a pickle without building anything.

torch's own unpickler knows few opcodes and few globals, and believes a tensor's offset, sizes and
strides: a tensor that reaches beyond its storage reads and writes foreign memory. So the stack is
followed here with stand-ins for all values.

A tuple may hold another one twice, that one a third twice, and so on: to walk over it has no end.
So stand-ins are compared and hashed by identity, and nothing looks into one but the functions that
expect a few plain values.

Source: torch/csrc/jit/serialization/unpickler.cpp.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from convpress.gate.refusals import damaged, over_limit, unsafe, unsupported
from convpress.gate.torchscript.globals import (
    ITEM_BYTES,
    LISTS,
    LONGEST_NAME,
    REBUILD_TENSOR,
    RESTORE_TYPE,
    is_own,
    require_known_global,
)
from convpress.gate.torchscript.source import require_safe_type
from convpress.gate.torchscript.stand_ins import (
    Container,
    Global,
    Storage,
    Tuple,
    depth_of,
)
from convpress.limits import Limits

_OBJECTS = frozenset({"NEWOBJ", "BUILD", "BINPERSID"})
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_INTEGERS = frozenset({"BININT", "BININT1", "BININT2", "LONG1"})
_SIGNED = frozenset({"BININT", "LONG1"})
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_PLAIN = "texts, numbers and plain containers"
_MARK = object()
# torch's device of tensors that have a shape and nothing else.
_WITHOUT_NUMBERS = "meta"
# The inputs that a model was traced with; torch writes their shapes, and reads them nowhere.
_WITHOUT_DATA = "traced_inputs.pkl"


class Unpickler:
    """The unpickler's stack and memo, with stand-ins for all values but numbers and texts."""

    def __init__(self, name: str, sizes: Mapping[str, int], limits: Limits) -> None:
        self._name = name
        self._sizes = sizes
        self._limits = limits
        # The storages of `data.pkl` are in the folder `data`.
        self._folder = name.removesuffix(".pkl")
        self._has_data = name != _WITHOUT_DATA
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}
        self._known_types: set[str] = set()

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
            stack.append(Container())
        elif opcode == "GLOBAL":
            stack.append(self._global(_global_name(argument)))
        elif opcode == "APPENDS":
            self._put(self._pop_marked())
        elif opcode == "SETITEMS":
            self._put_items(self._pop_marked())
        elif opcode in ("APPEND", "BUILD"):
            self._put([stack.pop()])
        elif opcode == "SETITEM":
            value = stack.pop()
            self._put_items([stack.pop(), value])
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
        if isinstance(value, Container):
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
        new = Tuple(values)
        self._bound(new.depth)
        self._stack.append(new)

    def _put_items(self, items: Sequence[Any]) -> None:
        """Put keys and values, by turns, into the dictionary at the end of the stack."""
        # torch hashes a key with all that is in it.
        if any(isinstance(key, Tuple | Container) for key in items[::2]):
            raise unsafe(
                f"{self._name} has a key that is a container",
                "texts and numbers as keys",
            )
        self._put(items)

    def _put(self, items: Iterable[Any]) -> None:
        """Put items into the container at the end of the stack."""
        container = self._stack[-1]
        if not isinstance(container, Container):
            raise TypeError("items for a value that holds none")
        # A container within itself would have no end.
        if container.is_shared:
            raise unsafe(
                f"{self._name} holds something that may contain itself",
                "values without cycles",
            )
        for item in items:
            container.depth = max(container.depth, 1 + depth_of(item))
        self._bound(container.depth)

    def _bound(self, depth: int) -> None:
        if depth > self._limits.nesting:
            raise over_limit(
                f"{self._name} nests values {depth} deep",
                f"at most {self._limits.nesting}",
            )

    def _global(self, name: str) -> Global:
        require_known_global(name, self._name)
        return Global(name)

    def _call(self, opcode: str, function: Any, arguments: Any) -> Container:  # noqa: ANN401 - stand-ins
        if not isinstance(function, Global):
            raise TypeError(f"{opcode} of no function")
        # torch writes a value of an enumeration as a call without a tuple.
        is_scalar = type(arguments) in (str, int, float)
        if opcode == "REDUCE" and is_scalar and is_own(function):
            return Container()
        if not isinstance(arguments, Tuple):
            raise TypeError(f"{opcode} of no arguments")
        if opcode == "REDUCE" and function in ITEM_BYTES:
            raise unsafe(
                f"{self._name} calls {function[:100]!r}",
                "calls that build tensors and plain containers",
            )
        if function == REBUILD_TENSOR:
            self._require_tensor_in_storage(arguments.values)
        elif function == RESTORE_TYPE:
            self._require_type(arguments.values)
        result = Container()
        result.depth = 1 + arguments.depth
        self._bound(result.depth)
        return result

    def _require_type(self, arguments: Sequence[Any]) -> None:
        """Require arguments of `restore_type_tag`: a value, and the name of a type to be parsed."""
        _, name = arguments
        if not isinstance(name, str) or len(name) > LONGEST_NAME:
            raise TypeError("a type without a name")
        # A large model has few types, each with many values.
        if name not in self._known_types:
            require_safe_type(name, self._name, self._limits)
            self._known_types.add(name)

    def _storage(self, reference: Any) -> Storage:  # noqa: ANN401 - a stand-in
        """Return the storage of a reference, whose member must be large enough."""
        if not isinstance(reference, Tuple) or len(reference.values) < 5:
            raise TypeError("a reference to no storage")
        _, kind, key, device, elements, *_ = reference.values
        is_kind = isinstance(kind, Global) and kind in ITEM_BYTES
        is_key = isinstance(key, str) and len(key) <= LONGEST_NAME
        # A truth value is an int to Python, but no number of elements.
        if not is_kind or not is_key or type(elements) is not int:
            shown = kind[:80] if isinstance(kind, Global) else "something else"
            raise unsafe(
                f"{self._name} has a storage of kind {shown!r}",
                "storages of plain numbers",
            )
        if isinstance(device, str) and device.partition(":")[0] == _WITHOUT_NUMBERS:
            raise unsupported(
                f"{self._name} has a tensor on the device {_WITHOUT_NUMBERS}, which stores no "
                "numbers",
                "the model with its weights",
            )
        item_bytes = ITEM_BYTES[kind]
        member = f"{self._folder}/{key}"
        member_bytes = self._sizes.get(member, 0)
        storage_bytes = elements * item_bytes
        if self._has_data and not 0 <= storage_bytes <= member_bytes:
            raise damaged(
                f"a storage of {storage_bytes} bytes is in {member[:100]}, which has {member_bytes}"
            )
        return Storage(elements)

    def _require_tensor_in_storage(self, arguments: Sequence[Any]) -> None:
        """Require that a tensor, of these arguments of its function, stays within its storage."""
        storage, offset, *shape = arguments[:4]
        sizes, strides = (self._axes(numbers) for numbers in shape)
        numbers = [offset, *sizes, *strides]
        if not isinstance(storage, Storage) or any(
            type(number) is not int for number in numbers
        ):
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

    def _axes(self, numbers: Any) -> Sequence[Any]:  # noqa: ANN401 - a stand-in
        """Return the sizes or strides of a tensor, one for each axis."""
        if not isinstance(numbers, Tuple):
            raise TypeError("a tensor of no shape")
        self._bound(len(numbers.values))
        return numbers.values


class PlainUnpickler(Unpickler):
    """The same for a pickle of texts, numbers and containers alone."""

    def run(self, opcode: str, argument: bytes) -> None:
        """Do one step.

        Raises:
            Refusal: `model_unsafe` for a step that builds anything else, and the codes of
                `Unpickler.run`.
        """
        if opcode in _OBJECTS:
            raise unsafe(f"{self._name} uses the pickle opcode {opcode}", _PLAIN)
        super().run(opcode, argument)

    def _global(self, name: str) -> Global:
        if name not in LISTS:
            raise unsafe(f"{self._name} names {name[:100]!r}", _PLAIN)
        return Global(name)


def _number(argument: bytes) -> int:
    return int.from_bytes(argument, "little")


def _global_name(argument: bytes) -> str:
    r"""Return the module and the name of a global, which are a line each, with a space between.

    >>> _global_name(b"collections\nOrderedDict\n")
    'collections OrderedDict'
    """
    return argument.decode().rstrip("\n").replace("\n", " ", 1)
