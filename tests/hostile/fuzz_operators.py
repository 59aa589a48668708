"""Call every operator of the gate's list with arguments that no network has.

    make fuzz-operators OPERATORS="CALLS SEED"

An operator that the list allows may fail by an exception, but may not end its process by a signal:
what reads outside of a tensor may also write there. Each overload has a process of its own, with
limits of time and memory. After a call that succeeded, most calls repeat it with one argument
changed, since most others would fail at the first check of their types. The same seed makes the
same calls; an overload that reaches its limit of time makes fewer. Prints each call that a signal
ended.
"""

import mmap
import os
import random
import resource
import signal
import struct
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from convpress.gate.torchscript.operators import ATEN, PRIM

_SECONDS = 0.3
_MEMORY_BYTES = 1024**3
_DTYPES = (
    *(
        torch.float32,
        torch.float32,
        torch.float32,
        torch.int64,
        torch.int64,
        torch.int32,
    ),
    *(
        torch.float64,
        torch.int8,
        torch.uint8,
        torch.bool,
        torch.float16,
        torch.bfloat16,
    ),
    *(torch.complex64, torch.int16),
)
_SIZES = (0, 1, 1, 2, 2, 3, 3, 4, 5, 8)
_INTEGERS = (
    *(0, 0, 1, 1, 1, 2, 2, 3, 4, 5, 7, 8, -1, -1, -2, -3, -100, 100, 1000),
    *(2**31 - 1, -(2**31), 2**31, 2**32, 2**62, 2**63 - 1, -(2**63), 1 - 2**63),
)
_FRACTIONS = (0.0, 1.0, -1.0, 0.5, 2.0, 1e-5, -1e30, 1e308, float("inf"), float("nan"))
_TEXTS = (
    *(
        "sum",
        "mean",
        "max",
        "min",
        "amax",
        "prod",
        "none",
        "same",
        "valid",
        "reflect",
        "constant",
    ),
    *(
        "replicate",
        "floor",
        "trunc",
        "tanh",
        "fro",
        "nuc",
        "reduced",
        "ij",
        "xy",
        "ij,jk->ik",
    ),
    *("", "linear", "gelsd", "L", "R", "N", "{}", "left", "forward", "a", "-1"),
)
_MEMORY_FORMATS = (0, 1, 2, 3)
# Arguments of these names are integers to most kernels, and often have one axis.
_INDEX_WORDS = (
    "ind",
    "length",
    "offset",
    "split",
    "target",
    "size",
    "sorted",
    "repeats",
)
# A dtype is an integer to TorchScript; some of these are quantised. One that does not exist ends
# the process in all operators that take one. Networks need these: only the sandbox holds it.
_TYPE_NUMBERS = (*range(13), 13, 15)
_CRASHES = frozenset(
    {
        signal.SIGSEGV,
        signal.SIGFPE,
        signal.SIGABRT,
        signal.SIGBUS,
        signal.SIGILL,
        signal.SIGTRAP,
    }
)


class Call(NamedTuple):
    """A call of an operator: its number, and the number of the call that it changes, if any."""

    number: int
    changed: int = -1


@dataclass(frozen=True)
class Crash:
    """A call that ended its process by a signal, and whether it also does so on its own."""

    schema: Any
    call: Call
    number: int
    is_repeatable: bool

    def __str__(self) -> str:
        name = signal.Signals(self.number).name
        alone = "alone" if self.is_repeatable else "only after the calls before it"
        return f"{name} at {self.call}, {alone}: {self.schema}"


class _Arguments:
    """The arguments of one call: mostly of one shape and type, as a kernel expects them."""

    def __init__(self, seed: str) -> None:
        self._chance = random.Random(seed)
        torch.manual_seed(self._chance.getrandbits(32))
        self._shape = self._any_shape()
        self._dtype = self._chance.choice(_DTYPES)

    def of(self, schema: Any) -> tuple[list[Any], dict[str, Any]]:
        """Return the positional and the named arguments for a schema; some keep their default."""
        positional: list[Any] = []
        named: dict[str, Any] = {}
        for argument in schema.arguments:
            if argument.has_default_value() and self._chance.random() < 0.4:
                value = argument.default_value
            else:
                value = self._value(str(argument.type), argument.name)
            if argument.kwarg_only:
                named[argument.name] = value
            else:
                positional.append(value)
        return positional, named

    def _value(self, kind: str, name: str) -> Any:
        """Return a value of a type of TorchScript's, by the name that a schema has for it."""
        if kind.startswith("Optional["):
            if self._chance.random() < 0.4:
                return None
            return self._value(kind[9:-1], name)
        if kind.startswith("List["):
            return self._list(kind[5:-1], name)
        if kind.startswith("Dict["):
            return {self._value(kind[5:].partition(",")[0], name): self._tensor()}
        makers: dict[str, Callable[[], Any]] = {
            "Tensor": lambda: self._tensor(name),
            "int": lambda: self._integer(name),
            "bool": lambda: self._chance.random() < 0.5,
            "number": self._number,
            "float": lambda: self._chance.choice(_FRACTIONS),
            "complex": lambda: complex(self._chance.choice(_FRACTIONS)),
            "str": lambda: self._chance.choice(
                _TEXTS[:6] if "reduc" in name else _TEXTS
            ),
            "Device": lambda: torch.device("cpu"),
            "Generator": lambda: None,
        }
        return makers.get(kind, makers["Tensor"])()

    def _list(self, kind: str, name: str) -> list[Any]:
        if kind == "int" and self._chance.random() < 0.5:
            return [
                self._chance.choice((0, 1, 1, 1, 2, 3)) for _ in range(self._count())
            ]
        return [self._value(kind, name) for _ in range(self._count())]

    def _count(self) -> int:
        if self._shape and self._chance.random() < 0.4:
            return self._chance.choice(self._shape)
        return self._chance.choice((0, 1, 1, 2, 2, 2, 3, 4, 6))

    def _integer(self, name: str) -> int:
        if "dtype" in name:
            return self._chance.choice(_TYPE_NUMBERS)
        if "memory_format" in name or name == "layout":
            return self._chance.choice(_MEMORY_FORMATS)
        if self._chance.random() < 0.6:
            return self._chance.choice((0, 0, 1, 1, 2, 3, -1))
        return self._chance.choice(_INTEGERS)

    def _number(self) -> float:
        return self._chance.choice((*_FRACTIONS, *_INTEGERS))

    def _any_shape(self) -> list[int]:
        axes = self._chance.choice((0, 1, 1, 2, 2, 3, 3, 4, 4, 5))
        return [self._chance.choice(_SIZES) for _ in range(axes)]

    def _tensor(self, name: str = "") -> torch.Tensor:
        chance = self._chance
        shape = self._shape if chance.random() < 0.6 else self._any_shape()
        dtype = self._dtype if chance.random() < 0.7 else chance.choice(_DTYPES)
        if any(word in name for word in _INDEX_WORDS) and chance.random() < 0.8:
            shape = shape if chance.random() < 0.6 else [chance.choice(_SIZES)]
            dtype = chance.choice((torch.int64, torch.int64, torch.int32))
        return self._strided(self._filled(shape, dtype))

    def _filled(self, shape: list[int], dtype: torch.dtype) -> torch.Tensor:
        chance = self._chance
        kind = chance.randrange(6)
        if kind == 0:
            return torch.zeros(shape).to(dtype)
        if kind == 1:
            # Indices that mostly fit.
            return torch.randint(0, 3, shape).to(dtype)
        if kind == 2:
            return torch.randint(-4, 12, shape).to(dtype)
        if kind == 3:
            return torch.full(shape, chance.choice(_INTEGERS), dtype=torch.int64).to(
                dtype
            )
        if kind == 4 and (dtype.is_floating_point or dtype.is_complex):
            return torch.full(shape, chance.choice(_FRACTIONS), dtype=dtype)
        return torch.randn(shape).to(dtype)

    def _strided(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return the tensor as it is, or one of other strides."""
        kind = self._chance.randrange(8)
        if kind == 0 and tensor.dim():
            return tensor.transpose(0, -1)
        if kind == 1 and tensor.dim():
            return tensor[..., :1].expand(tensor.shape) if tensor.numel() else tensor
        if kind == 2:
            return torch.as_strided(tensor, tensor.shape, [0] * tensor.dim())
        return tensor


def schemas() -> Iterator[Any]:
    """Yield the schemas of all overloads on the gate's list."""
    for schema in torch._C._jit_get_all_schemas():
        namespace, _, name = schema.name.partition("::")
        if name in {"aten": ATEN, "prim": PRIM}.get(namespace, ()):
            yield schema


def arguments_of(
    schema: Any, call: Call, seed: int
) -> tuple[list[Any], dict[str, Any]]:
    """Return the positional and the named arguments of a call."""
    positional, named = _Arguments(f"{seed} {schema} {call.number}").of(schema)
    if call.changed < 0:
        return positional, named
    kept, kept_named = _Arguments(f"{seed} {schema} {call.changed}").of(schema)
    places: list[int | str] = [*range(len(kept)), *kept_named]
    place = places[call.number % len(places)]
    if isinstance(place, int):
        kept[place] = positional[place]
    else:
        kept_named[place] = named[place]
    return kept, kept_named


def _succeeds(schema: Any, call: Call, seed: int) -> bool:
    """Make one call; whatever exception it raises is fine."""
    overload = torch._C._get_operation_overload(schema.name, schema.overload_name)
    operation = overload[0] if overload else torch._C._jit_get_operation(schema.name)[0]
    try:
        positional, named = arguments_of(schema, call, seed)
        operation(*positional, **named)
    except Exception:
        return False
    return True


def _calls(schema: Any, count: int, seed: int, last: mmap.mmap) -> None:
    """Make `count` calls. Each is noted in `last` first."""
    succeeded: list[int] = []
    chance = random.Random(f"{seed} {schema}")
    for number in range(count):
        call = Call(number)
        if succeeded and chance.random() < 0.7:
            call = Call(number, chance.choice(succeeded))
        last[:] = struct.pack("qq", *call)
        if _succeeds(schema, call, seed) and call.changed < 0:
            succeeded.append(number)


def _ending(attempt: Callable[[mmap.mmap], object]) -> tuple[int, Call]:
    """Make an attempt in a process of its own; return the signal that ended it, and the last call.

    The signal is 0 for a process that ended by itself.
    """
    sys.stdout.flush()
    with mmap.mmap(-1, 16) as last:
        child = os.fork()
        if child == 0:
            _confine()
            with torch.no_grad():
                attempt(last)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        return os.WTERMSIG(status), Call(*struct.unpack("qq", last[:]))


def _confine() -> None:
    """Limit time and memory of this process, and silence it."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    largest = pages * mmap.PAGESIZE + _MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (largest, largest))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # The signal of this timer is none of the crashes.
    signal.setitimer(signal.ITIMER_PROF, _SECONDS)


def run(calls: int, seed: int, names: frozenset[str] | None = None) -> Iterator[Crash]:
    """Call every overload `calls` times, and yield the first crash of each.

    `names` leaves out the other operators.
    """
    for schema in schemas():
        if names is not None and schema.name.partition("::")[2] not in names:
            continue
        number, call = _ending(partial(_calls, schema, calls, seed))
        if number in _CRASHES:
            again, _ = _ending(lambda _, s=schema, c=call: _succeeds(s, c, seed))
            yield Crash(schema, call, number, again in _CRASHES)


if __name__ == "__main__":
    torch.set_num_threads(1)
    crashes = 0
    seed = int(sys.argv[2])
    for crash in run(int(sys.argv[1]), seed):
        crashes += 1
        arguments = arguments_of(crash.schema, crash.call, seed)
        sys.stdout.write(f"{crash}\n  {arguments!r}\n")
        sys.stdout.flush()
    sys.stdout.write(f"{crashes} overloads crash\n")
    sys.exit(bool(crashes))
