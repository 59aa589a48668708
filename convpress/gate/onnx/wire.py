"""An ONNX message's fields on the wire, every one counted: what is walked is bounded, whatever it stands for."""

from collections.abc import Iterable

from convpress.gate import protobuf
from convpress.gate.archive import invalid, over_limit
from convpress.gate.protobuf import FIXED32, FIXED64, VARINT, Field
from convpress.limits import Limits

_AT_ONCE = 1 << 20
_CONTINUED = bytes(range(128, 256))


class Wire:
    """The bytes of a model, and how many of its fields have been walked."""

    def __init__(self, view: memoryview, limits: Limits) -> None:
        self.limits = limits
        self._view = view
        self._walked = 0

    def whole(self) -> Field:
        """Return the model itself, as a field that holds it."""
        return Field(0, protobuf.DELIMITED, 0, 0, len(self._view))

    def fields(self, message: Field, where: str, once: tuple[int, ...] = ()) -> Iterable[Field]:
        """Yield the fields of a message; those of `once` may not come twice, for parsers would merge the two.

        Raises:
            Refusal: `model_over_limit`, or `model_invalid` for a field that comes twice.
            MalformedMessage: it is no message.
        """
        seen: set[int] = set()
        for field in protobuf.fields(self._view, message.value, message.end):
            self._walked += 1
            if self._walked > self.limits.fields:
                raise over_limit("the model has too many fields", f"at most {self.limits.fields}")
            if field.number in once:
                if field.number in seen:
                    raise invalid(
                        f"field {field.number} of {where} is given twice, at byte {field.start}"
                    )
                seen.add(field.number)
            yield field

    def text(self, field: Field) -> bytes:
        """Return what a field holds."""
        return bytes(self._view[field.value : field.end])

    def number(self, field: Field) -> int:
        """Return the integer of a field."""
        return protobuf.read_varint(self._view, field.value, field.end)[0]

    def numbers(self, field: Field) -> list[int]:
        """Return the integers of a repeated field, packed or one by one."""
        if field.wire_type == VARINT:
            return [signed(self.number(field))]
        if field.wire_type in (FIXED32, FIXED64):
            return []
        numbers: list[int] = []
        position = field.value
        while position < field.end and len(numbers) <= self.limits.nesting:
            number, position = protobuf.read_varint(self._view, position, field.end)
            numbers.append(signed(number))
        return numbers

    def count_numbers(self, field: Field) -> int:
        """Return how many integers a packed field holds: each has one byte below 128, its last."""
        count = 0
        for start in range(field.value, field.end, _AT_ONCE):
            count += len(
                bytes(self._view[start : min(field.end, start + _AT_ONCE)]).translate(
                    None, _CONTINUED
                )
            )
        return count


def signed(number: int) -> int:
    """Return the integer that 64 bits stand for in two's complement."""
    return number - (1 << 64) if number >> 63 else number


def shown(name: bytes) -> str:
    """Return a name as a refusal shows it."""
    return repr(name[:80].decode(errors="replace"))
