"""The pickles of a TorchScript archive: cut into steps, which a stand-in for torch's own runs.

Source: torch/csrc/jit/serialization/unpickler.cpp, and the standard library's pickletools.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from convpress.gate.refusals import damaged, over_limit, unsafe
from convpress.gate.torchscript.opcodes import BY_BYTE
from convpress.gate.torchscript.unpickler import PlainUnpickler, Unpickler
from convpress.limits import Limits
from convpress.refusal import Refusal

# An archive has several pickles, and notes on each of its source files.
_PICKLES = 4


class _Step(NamedTuple):
    position: int
    opcode: str
    argument: bytes


class StepBudget:
    """The steps that the pickles of an archive may still take, all together."""

    def __init__(self, limits: Limits) -> None:
        self._remaining = _PICKLES * limits.pickle_steps

    def spend(self) -> None:
        """Take a step.

        Raises:
            Refusal: `model_over_limit`.
        """
        self._remaining -= 1
        if self._remaining < 0:
            raise over_limit("the archive's pickles have too many steps", "fewer steps")


@dataclass(frozen=True)
class PickleCheck:
    """What the pickles of an archive are checked against.

    Attributes:
        sizes: The sizes of the archive's members in bytes, by name: storages are members.
    """

    sizes: Mapping[str, int]
    limits: Limits
    budget: StepBudget

    def require_safe(self, pickle: bytes, name: str) -> None:
        """Require that the pickle of member `name` builds tensors, containers, own classes alone.

        Raises:
            Refusal: `model_invalid` for bytes that are no pickle and tensors beyond their storage,
                `model_unsafe` for opcodes and globals that no archive of a network has,
                `model_over_limit` for deep nesting, `model_unsupported` for quantised tensors.
        """
        self._run(pickle, name, Unpickler(name, self.sizes, self.limits))

    def require_plain(self, pickle: bytes, name: str) -> None:
        """Require a pickle of texts, numbers and containers alone, as the notes on source are.

        Raises:
            Refusal: the codes of `require_safe`.
        """
        self._run(pickle, name, PlainUnpickler(name, self.sizes, self.limits))

    def _run(self, pickle: bytes, name: str, unpickler: Unpickler) -> None:
        position = 0
        try:
            for step in _steps(pickle, name, self.limits):
                self.budget.spend()
                position = step.position
                unpickler.run(step.opcode, step.argument)
        except Refusal:
            # A Refusal is a ValueError too.
            raise
        except (ValueError, IndexError, KeyError, TypeError, OverflowError) as error:
            raise _no_pickle(name, position, error) from error


def _no_pickle(name: str, position: int, error: Exception) -> Refusal:
    return damaged(f"{name} is no pickle after byte {position} ({error})")


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
            raise over_limit(
                f"{name} has too many steps", f"at most {limits.pickle_steps}"
            )
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
