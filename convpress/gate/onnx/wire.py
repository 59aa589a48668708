"""The fields of ONNX messages on the wire, all counted, so that a walk over them is bounded."""

from collections.abc import Iterable

from convpress.gate import protobuf
from convpress.gate.protobuf import DELIMITED, FIXED32, FIXED64, VARINT, Field
from convpress.gate.refusals import damaged, over_limit
from convpress.limits import Limits

# A packed field may have gigabytes: it is copied piece by piece.
_CHUNK_BYTES = 1 << 20
# All bytes of a varint but its last one have the highest bit set.
_NOT_LAST = bytes(range(128, 256))
# A name may be as long as the file.
_LONGEST_SHOWN = 80
# Exporters make names from the path of a module, of some hundred bytes.
_LONGEST_NAME = 10_000


class Wire:
    """The bytes of a model, and the number of fields that were walked so far."""

    def __init__(self, view: memoryview, limits: Limits) -> None:
        self.limits = limits
        self._view = view
        self._walked = 0

    def whole(self) -> Field:
        """Return the model itself, as the content of a field."""
        return Field(0, DELIMITED, 0, 0, len(self._view))

    def fields(
        self, message: Field, where: str, once: tuple[int, ...] = ()
    ) -> Iterable[Field]:
        """Yield the fields of a message; those in `once` may not come twice.

        Parsers would merge two of them, each in its own way.

        Raises:
            Refusal: `model_over_limit`, or `model_invalid` for a field that comes twice.
            MalformedMessage: it is no message.
        """
        seen: set[int] = set()
        for field in protobuf.fields(self._view, message.value, message.end):
            self._walked += 1
            if self._walked > self.limits.fields:
                raise over_limit(
                    "the model has too many fields", f"at most {self.limits.fields}"
                )
            if field.number in once:
                if field.number in seen:
                    raise damaged(
                        f"field {field.number} of {where} is there twice, at byte {field.start}"
                    )
                seen.add(field.number)
            yield field

    def messages(
        self, message: Field, where: str, once: tuple[int, ...] = ()
    ) -> Iterable[Field]:
        """Yield those fields of a message that are length-delimited: messages and texts.

        Raises:
            Refusal: the codes of `fields`.
            MalformedMessage: it is no message.
        """
        for field in self.fields(message, where, once):
            if field.wire_type == DELIMITED:
                yield field

    def text(self, field: Field) -> bytes:
        """Return the content of a field that holds a name.

        Raises:
            Refusal: `model_over_limit`: names are copied, compared and shown.
        """
        if field.end - field.value > _LONGEST_NAME:
            raise over_limit(
                f"a name at byte {field.value} has {field.end - field.value} bytes",
                f"at most {_LONGEST_NAME} bytes",
            )
        return bytes(self._view[field.value : field.end])

    def number(self, field: Field) -> int:
        """Return the integer of a field."""
        return protobuf.read_varint(self._view, field.value, field.end)[0]

    def numbers(self, field: Field) -> list[int]:
        """Return the integers of a repeated field, packed or one by one.

        Of packed ones, no more are returned than refute the limit on axes.
        """
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
        """Return the number of integers in a packed field: that of their last bytes.

        Nothing is decoded: a large tensor may be stored so.

        >>> packed = protobuf.write_varint(300) + protobuf.write_varint(7)
        >>> wire = Wire(memoryview(packed), Limits())
        >>> wire.count_numbers(wire.whole())
        2
        """
        count = 0
        for start in range(field.value, field.end, _CHUNK_BYTES):
            stop = min(field.end, start + _CHUNK_BYTES)
            chunk = bytes(self._view[start:stop])
            count += len(chunk.translate(None, _NOT_LAST))
        return count


def signed(number: int) -> int:
    """Return the signed integer that has these 64 bits in two's complement.

    >>> signed(5), signed(2**64 - 1)
    (5, -1)
    """
    is_negative = number >> 63
    return number - (1 << 64) if is_negative else number


def shown(name: bytes) -> str:
    """Return a name as a refusal shows it."""
    return repr(name[:_LONGEST_SHOWN].decode(errors="replace"))
