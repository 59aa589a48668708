"""What an ONNX file declares of tensors: sizes within bounds, data of that size, in files of the same bundle."""

from math import prod
from typing import NoReturn

from convpress.gate import bundle
from convpress.gate.archive import invalid, over_limit, unsafe
from convpress.gate.bundle import Bundle
from convpress.gate.onnx.wire import Wire, shown, signed
from convpress.gate.protobuf import DELIMITED, VARINT, Field
from convpress.refusal import Code, Refusal

# TensorProto: which fields hold what.
_T_DIMS, _T_TYPE, _T_RAW, _T_EXTERNAL, _T_LOCATION = 1, 2, 9, 13, 14
_T_STRINGS, _T_FLOATS, _T_DOUBLES = 6, 4, 10
_T_VARINTS = (5, 7, 11)  # int32_data, int64_data, uint64_data
_EXTERNAL_KEYS = frozenset({b"location", b"offset", b"length", b"checksum"})
_LONGEST_NAME = 255

_BITS = {1: 32, 2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 64, 9: 8, 10: 16, 11: 64, 12: 32, 13: 64, 14: 64, 15: 128,
         16: 16, 17: 8, 18: 8, 19: 8, 20: 8, 21: 4, 22: 4, 23: 4, 24: 8, 25: 2, 26: 2}  # fmt: skip
_STRING = 8
_PARTS = {14: 2, 15: 2}  # a complex number is two in float_data or double_data


class Tensors:
    """The tensors of a model, counted; `archive` is the bundle that it came in, if any."""

    def __init__(self, wire: Wire, archive: Bundle | None) -> None:
        self._wire, self._archive = wire, archive
        self._count = 0

    def tensor(self, message: Field, where: str) -> bytes:
        """Check that a tensor's data is what its shape needs, and return its name."""
        self._count += 1
        if self._count > self._wire.limits.tensors:
            raise over_limit(
                "the model has too many tensors", f"at most {self._wire.limits.tensors} tensors"
            )
        dims: list[int] = []
        name, kind, raw, external, located, held = b"", 0, None, [], 0, 0
        once = (_T_TYPE, 3, 8, _T_RAW, _T_LOCATION)
        for field in self._wire.fields(message, f"a tensor of {where}", once=once):
            number, size = field.number, field.end - field.value
            if number == _T_DIMS:
                dims += self._wire.numbers(field)
            elif number == _T_TYPE and field.wire_type == VARINT:
                kind = self._wire.number(field)
            elif number == 8:
                name = self._wire.text(field)
            elif number == _T_RAW:
                raw = size
            elif number == _T_EXTERNAL:
                external.append(field)
            elif number == _T_LOCATION and field.wire_type == VARINT:
                located = self._wire.number(field)
            elif number in (_T_FLOATS, _T_DOUBLES):
                held += (
                    size // (4 if number == _T_FLOATS else 8) if field.wire_type == DELIMITED else 1
                )
            elif number in _T_VARINTS:
                held += self._wire.count_numbers(field) if field.wire_type == DELIMITED else 1
            elif number == _T_STRINGS:
                held += 1
        what = f"the tensor {shown(name)} of {where}"
        bits = _BITS.get(kind)
        if bits is None and kind != _STRING:
            raise invalid(f"{what} has the element type {kind}, which does not exist")
        elements = self._bound_size(dims, bits or 8, what)
        if located == 1 or external:
            self._external(external, (elements * (bits or 0) + 7) // 8, what)
        else:
            self._filled(what, dims, elements, kind, raw, held)
        return name

    def sparse(self, message: Field, where: str) -> None:
        """Check a sparse tensor: its values, its indices and the size that it stands for."""
        dims: list[int] = []
        for field in self._wire.fields(message, where, once=(1, 2)):
            if field.number in (1, 2) and field.wire_type == DELIMITED:
                self.tensor(field, where)
            elif field.number == 3:
                dims += self._wire.numbers(field)
        self._bound_size(dims, 64, f"a sparse tensor of {where}")

    def value(self, message: Field, where: str) -> bytes:
        """Check the declared type of an input, output or value, and return its name."""
        name = b""
        for field in self._wire.fields(message, f"a value of {where}", once=(1, 2)):
            if field.number == 1:
                name = self._wire.text(field)
            elif field.number == 2 and field.wire_type == DELIMITED:
                self.type(field, f"{shown(name)} of {where}", 1)
        return name

    def type(self, message: Field, where: str, depth: int) -> None:
        """Check a declared type: how deep it goes, and the sizes of tensors in it."""
        if depth > self._wire.limits.nesting:
            raise over_limit(
                f"the type of {where} is nested {depth} deep",
                f"at most {self._wire.limits.nesting}",
            )
        for field in self._wire.fields(message, where):
            if field.wire_type != DELIMITED:
                continue
            if field.number in (1, 8):
                self._tensor_type(field, where)
            elif field.number in (
                4,
                5,
                9,
            ):  # a sequence, a map, an optional: the type inside has field 1 or 2
                for inner in self._wire.fields(field, where, once=(1, 2)):
                    if (
                        inner.number == (2 if field.number == 5 else 1)
                        and inner.wire_type == DELIMITED
                    ):
                        self.type(inner, where, depth + 1)

    def _filled(
        self, what: str, dims: list[int], elements: int, kind: int, raw: int | None, held: int
    ) -> None:
        bits = _BITS.get(kind, 0)
        if raw is not None and kind != _STRING:
            full = raw == (elements * bits + 7) // 8
        else:
            packed = 8 // bits if bits in (2, 4) else 1
            full = held == -(-elements // packed) * _PARTS.get(kind, 1)
        if not full:
            given = f"{held} elements" if raw is None else f"{raw} bytes"
            raise invalid(f"{what} has the shape {tuple(dims)[:16]} and {given} of data")

    def _external(self, entries: list[Field], needed: int, what: str) -> None:
        """Check a tensor in another file: one of the upload's own, named by nothing but its name, and long enough."""
        said: dict[bytes, bytes] = {}
        for entry in entries:
            pair: dict[int, bytes] = {}
            for field in self._wire.fields(entry, what, once=(1, 2)):
                if field.number in (1, 2) and field.wire_type == DELIMITED:
                    pair[field.number] = self._wire.text(field)
            key = pair.get(1, b"")
            if key in said or key not in _EXTERNAL_KEYS:
                raise unsafe(
                    f"{what} says {shown(key)} of its file, or says it twice",
                    "location, offset, length, checksum",
                )
            said[key] = pair.get(2, b"")
        location = said.get(b"location", b"").decode(errors="replace")
        member = self._archive.find(location) if self._archive else None
        if member is None:
            self._elsewhere(what, location)
        try:
            offset, length = (int(said.get(key, b"0") or b"0") for key in (b"offset", b"length"))
        except ValueError as error:
            raise invalid(f"{what} lies at no number of bytes in {location}") from error
        length = length if b"length" in said else needed
        if offset < 0 or length != needed or offset + length > member.size:
            raise invalid(
                f"{what} needs {needed} bytes, and is said to lie at {offset} with {length} in {location}"
            )

    def _elsewhere(self, what: str, location: str) -> NoReturn:
        if (
            not location
            or len(location) > _LONGEST_NAME
            or set(location) & set("/\\\0:")
            or location in (".", "..")
        ):
            raise unsafe(
                f"{what} lies in the file {location[:100]!r}", "a file that was uploaded with it"
            )
        raise Refusal(
            Code.MODEL_UNSUPPORTED,
            f"{what} lies in another file, {location[:100]!r}, which was not uploaded; send a zip or tar archive of "
            "the model and its files, or save it as one file (onnx.save with save_as_external_data=False)",
            field="model",
            expected=bundle.EXPECTED,
            got=f"a reference to {location[:80]!r}",
        )

    def _tensor_type(self, message: Field, where: str) -> None:
        kind, dims = 1, []
        for field in self._wire.fields(message, where, once=(1, 2)):
            if field.number == 1 and field.wire_type == VARINT:
                kind = self._wire.number(field)
            elif field.number == 2 and field.wire_type == DELIMITED:
                for dim in self._wire.fields(field, where):
                    parts = self._wire.fields(dim, where, once=(1, 2))
                    dims += [
                        self._wire.number(part)
                        for part in parts
                        if part.number == 1 and part.wire_type == VARINT
                    ]
        self._bound_size(
            [dim for dim in map(signed, dims) if dim > 0],
            _BITS.get(kind, 8),
            f"the declared shape of {where}",
        )

    def _bound_size(self, dims: list[int], bits: int, what: str) -> int:
        if len(dims) > self._wire.limits.nesting or any(dim < 0 for dim in dims):
            raise invalid(f"{what} has the shape {tuple(dims)[:16]}")
        elements = prod(dims)
        if prod(dim for dim in dims if dim) * bits // 8 > self._wire.limits.tensor_bytes:
            raise over_limit(
                f"{what} declares the shape {tuple(dims)[:16]}",
                f"at most {self._wire.limits.tensor_bytes} bytes",
            )
        return elements
