"""The tensors of an ONNX file: bounded sizes, data of these sizes, in files of the same bundle."""

import dataclasses
from math import prod

from convpress.gate import bundle
from convpress.gate.bundle import Bundle, Member
from convpress.gate.onnx.wire import Wire, shown, signed
from convpress.gate.protobuf import DELIMITED, VARINT, Field
from convpress.gate.refusals import damaged, over_limit, unsafe, unsupported
from convpress.refusal import Refusal

_TENSOR_DIMS = 1
_TENSOR_TYPE = 2
_TENSOR_SEGMENT = 3
_TENSOR_FLOATS = 4
_TENSOR_STRINGS = 6
_TENSOR_NAME = 8
_TENSOR_RAW = 9
_TENSOR_DOUBLES = 10
# int32_data, int64_data, uint64_data
_TENSOR_VARINTS = (5, 7, 11)
_TENSOR_EXTERNAL = 13
_TENSOR_LOCATION = 14
_EXTERNAL = 1

_SPARSE_TENSORS = (1, 2)
_SPARSE_DIMS = 3

_VALUE_NAME = 1
_VALUE_TYPE = 2

# A tensor and a sparse tensor; a sequence, a map and an optional, which have a type inside.
_TYPE_TENSORS = (1, 8)
_TYPE_SEQUENCE = 4
_TYPE_MAP = 5
_TYPE_OPTIONAL = 9
_MAP_VALUE = 2
_ELEMENT = 1

_TENSOR_TYPE_ELEMENT = 1
_TENSOR_TYPE_SHAPE = 2
_DIM_VALUE = 1
_DIM_SYMBOL = 2

_ENTRY_KEY = 1
_ENTRY_VALUE = 2
_EXTERNAL_KEYS = frozenset({b"location", b"offset", b"length", b"checksum"})
_LONGEST_NAME = 255

# The bits of one element, by ONNX's number of the type.
_BITS = {
    1: 32,  # FLOAT
    2: 8,  # UINT8
    3: 8,  # INT8
    4: 16,  # UINT16
    5: 16,  # INT16
    6: 32,  # INT32
    7: 64,  # INT64
    9: 8,  # BOOL
    10: 16,  # FLOAT16
    11: 64,  # DOUBLE
    12: 32,  # UINT32
    13: 64,  # UINT64
    14: 64,  # COMPLEX64
    15: 128,  # COMPLEX128
    16: 16,  # BFLOAT16
    17: 8,  # FLOAT8E4M3FN
    18: 8,  # FLOAT8E4M3FNUZ
    19: 8,  # FLOAT8E5M2
    20: 8,  # FLOAT8E5M2FNUZ
    21: 4,  # UINT4
    22: 4,  # INT4
    23: 4,  # FLOAT4E2M1
    24: 8,  # FLOAT8E8M0
    25: 2,  # UINT2
    26: 2,  # INT2
}
_STRING = 8
# A complex number is two in float_data or double_data.
_COMPLEX = (14, 15)
_PACKED_BITS = (2, 4)
_SHOWN_AXES = 16


@dataclasses.dataclass
class _Tensor:
    """The fields of a TensorProto: its type, its shape, and how much data it has where."""

    name: bytes = b""
    kind: int = 0
    location: int = 0
    raw_bytes: int | None = None
    elements: int = 0
    dims: list[int] = dataclasses.field(default_factory=list)
    external: list[Field] = dataclasses.field(default_factory=list)

    @property
    def is_external(self) -> bool:
        """Whether its data is in another file."""
        return self.location == _EXTERNAL or bool(self.external)

    @property
    def bits(self) -> int:
        """The bits of an element; 0 for strings."""
        return _BITS.get(self.kind, 0)

    @property
    def shown_shape(self) -> str:
        """The shape as a refusal shows it."""
        return _shown_shape(self.dims)


class Tensors:
    """The tensors of a model, counted; `archive` is the bundle that the model is in, if any."""

    def __init__(self, wire: Wire, archive: Bundle | None) -> None:
        self._wire = wire
        self._limits = wire.limits
        self._archive = archive
        self._count = 0

    def tensor(self, message: Field, where: str) -> bytes:
        """Check that a tensor has the data that its shape needs, and return its name.

        Raises:
            Refusal: `model_invalid`, `model_unsafe`, `model_unsupported` or `model_over_limit`.
        """
        self._count += 1
        if self._count > self._limits.tensors:
            raise over_limit(
                "the model has too many tensors", f"at most {self._limits.tensors} tensors"
            )
        tensor = self._read(message, where)
        what = f"the tensor {shown(tensor.name)} of {where}"
        if tensor.kind not in _BITS and tensor.kind != _STRING:
            raise damaged(f"{what} has the element type {tensor.kind}, which does not exist")
        elements = self._bounded_size(tensor.dims, tensor.bits or 8, what)
        if tensor.is_external:
            self._require_external(tensor.external, _bytes(elements, tensor.bits), what)
        else:
            _require_filled(tensor, elements, what)
        return tensor.name

    def sparse(self, message: Field, where: str) -> None:
        """Check a sparse tensor: its values, its indices and its dense size.

        Raises:
            Refusal: the codes of `tensor`.
        """
        dims: list[int] = []
        for field in self._wire.fields(message, where, once=_SPARSE_TENSORS):
            if field.number in _SPARSE_TENSORS and field.wire_type == DELIMITED:
                self.tensor(field, where)
            elif field.number == _SPARSE_DIMS:
                dims += self._wire.numbers(field)
                self._bound_axes(dims, f"a sparse tensor of {where}")
        # The type is that of the values: the widest real one is assumed.
        self._bounded_size(dims, 64, f"a sparse tensor of {where}")

    def value(self, message: Field, where: str) -> bytes:
        """Check the declared type of an input, output or value, and return its name.

        Raises:
            Refusal: `model_invalid` or `model_over_limit`.
        """
        name = b""
        once = (_VALUE_NAME, _VALUE_TYPE)
        for field in self._wire.fields(message, f"a value of {where}", once):
            if field.number == _VALUE_NAME:
                name = self._wire.text(field)
            elif field.number == _VALUE_TYPE and field.wire_type == DELIMITED:
                self.type(field, f"{shown(name)} of {where}", 1)
        return name

    def type(self, message: Field, where: str, depth: int) -> None:
        """Check a declared type: its depth, and the sizes of tensors in it.

        Raises:
            Refusal: `model_invalid` or `model_over_limit`.
        """
        if depth > self._limits.nesting:
            raise over_limit(
                f"the type of {where} is nested {depth} deep", f"at most {self._limits.nesting}"
            )
        for field in self._wire.messages(message, where):
            if field.number in _TYPE_TENSORS:
                self._tensor_type(field, where)
            elif field.number == _TYPE_MAP:
                self._inner_type(field, _MAP_VALUE, where, depth)
            elif field.number in (_TYPE_SEQUENCE, _TYPE_OPTIONAL):
                self._inner_type(field, _ELEMENT, where, depth)

    def _inner_type(self, message: Field, number: int, where: str, depth: int) -> None:
        """Check the type in field `number` of a sequence, a map or an optional."""
        for field in self._wire.messages(message, where, once=(_ELEMENT, _MAP_VALUE)):
            if field.number == number:
                self.type(field, where, depth + 1)

    def _tensor_type(self, message: Field, where: str) -> None:
        """Check the size of a declared tensor, as far as its axes are known."""
        kind = 1
        dims: list[int] = []
        once = (_TENSOR_TYPE_ELEMENT, _TENSOR_TYPE_SHAPE)
        for field in self._wire.fields(message, where, once):
            if field.number == _TENSOR_TYPE_ELEMENT and field.wire_type == VARINT:
                kind = self._wire.number(field)
            elif field.number == _TENSOR_TYPE_SHAPE and field.wire_type == DELIMITED:
                dims += self._declared_dims(field, where)
        # Sizes that are not known are written as 0 or -1.
        known = [size for size in dims if size > 0]
        self._bounded_size(known, _BITS.get(kind, 8), f"the declared shape of {where}")

    def _declared_dims(self, message: Field, where: str) -> list[int]:
        """Return the sizes of a declared shape, without axes that have a symbol."""
        sizes = []
        for dim in self._wire.fields(message, where):
            for field in self._wire.fields(dim, where, once=(_DIM_VALUE, _DIM_SYMBOL)):
                # Axes that are not known have a symbol, or nothing.
                if field.number != _DIM_VALUE or field.wire_type != VARINT:
                    continue
                sizes.append(signed(self._wire.number(field)))
        return sizes

    def _read(self, message: Field, where: str) -> _Tensor:
        """Return the fields of a TensorProto; the data itself is measured, not read.

        Raises:
            Refusal: `model_invalid` for a field that comes twice, `model_over_limit`.
        """
        tensor = _Tensor()
        once = (_TENSOR_TYPE, _TENSOR_SEGMENT, _TENSOR_NAME, _TENSOR_RAW, _TENSOR_LOCATION)
        for field in self._wire.fields(message, f"a tensor of {where}", once):
            if field.number == _TENSOR_DIMS:
                tensor.dims += self._wire.numbers(field)
                self._bound_axes(tensor.dims, f"a tensor of {where}")
            elif field.number == _TENSOR_TYPE and field.wire_type == VARINT:
                tensor.kind = self._wire.number(field)
            elif field.number == _TENSOR_NAME:
                tensor.name = self._wire.text(field)
            elif field.number == _TENSOR_RAW:
                tensor.raw_bytes = field.end - field.value
            elif field.number == _TENSOR_EXTERNAL:
                tensor.external.append(field)
            elif field.number == _TENSOR_LOCATION and field.wire_type == VARINT:
                tensor.location = self._wire.number(field)
            else:
                tensor.elements += self._elements(field)
        return tensor

    def _elements(self, field: Field) -> int:
        """Return the number of elements in a field of data; 0 for other fields."""
        size = field.end - field.value
        is_packed = field.wire_type == DELIMITED
        if field.number == _TENSOR_FLOATS:
            return size // 4 if is_packed else 1
        if field.number == _TENSOR_DOUBLES:
            return size // 8 if is_packed else 1
        if field.number in _TENSOR_VARINTS:
            return self._wire.count_numbers(field) if is_packed else 1
        return 1 if field.number == _TENSOR_STRINGS else 0

    def _require_external(self, fields: list[Field], needed: int, what: str) -> None:
        """Require that a tensor's data is in a file of the bundle, with `needed` bytes.

        Raises:
            Refusal: `model_unsafe` for a path, `model_unsupported` for a file that was not
                uploaded, `model_invalid` for bytes that the file does not have.
        """
        entries = self._entries(fields, what)
        location = entries.get(b"location", b"").decode(errors="replace")
        member = self._archive.find(location) if self._archive else None
        if member is None:
            raise _elsewhere(what, location)
        try:
            offset = int(entries.get(b"offset") or b"0")
            length = int(entries.get(b"length") or b"0")
        except ValueError as error:
            raise damaged(f"{what} has no number as its place in {location}") from error
        if b"length" not in entries:
            length = needed
        _require_extent(offset, length, needed, member, what)

    def _entries(self, fields: list[Field], what: str) -> dict[bytes, bytes]:
        """Return the keys and values of external data, each key once.

        Raises:
            Refusal: `model_unsafe` for a key that is unknown or comes twice.
        """
        entries: dict[bytes, bytes] = {}
        once = (_ENTRY_KEY, _ENTRY_VALUE)
        for entry in fields:
            pair = {}
            for field in self._wire.messages(entry, what, once):
                if field.number in once:
                    pair[field.number] = self._wire.text(field)
            key = pair.get(_ENTRY_KEY, b"")
            if key in entries or key not in _EXTERNAL_KEYS:
                raise unsafe(
                    f"{what} states {shown(key)} of its file, or states it twice",
                    "location, offset, length, checksum",
                )
            entries[key] = pair.get(_ENTRY_VALUE, b"")
        return entries

    def _bound_axes(self, dims: list[int], what: str) -> None:
        """Require few axes, at once: a file may have them in a million fields."""
        if len(dims) > self._limits.nesting:
            raise damaged(f"{what} has the shape {_shown_shape(dims)}, and more axes")

    def _bounded_size(self, dims: list[int], bits: int, what: str) -> int:
        """Return the number of elements of a shape, which must not be too large.

        An axis of 0 elements makes a tensor empty, but not small to all libraries: the others are
        bounded without it.
        """
        self._bound_axes(dims, what)
        if any(dim < 0 for dim in dims):
            raise damaged(f"{what} has the shape {_shown_shape(dims)}")
        largest = prod(dim for dim in dims if dim)
        if largest * bits // 8 > self._limits.tensor_bytes:
            raise over_limit(
                f"{what} declares the shape {_shown_shape(dims)}",
                f"at most {self._limits.tensor_bytes} bytes",
            )
        return prod(dims)


def _require_filled(tensor: _Tensor, elements: int, what: str) -> None:
    """Require that a tensor has as much data as its shape needs.

    1. Raw data has as many bytes as its elements take, without gaps.
    2. Typed data has as many numbers as elements; small elements share one, complex ones take two.
    3. Strings have no raw data.

    Raises:
        Refusal: `model_invalid`.
    """
    has_raw_numbers = tensor.raw_bytes is not None and tensor.kind != _STRING
    if has_raw_numbers:
        is_filled = tensor.raw_bytes == _bytes(elements, tensor.bits)
    else:
        # Elements of 2 and 4 bits share an integer of 8 bits.
        per_number = 8 // tensor.bits if tensor.bits in _PACKED_BITS else 1
        numbers = -(-elements // per_number)
        if tensor.kind in _COMPLEX:
            numbers *= 2
        is_filled = tensor.elements == numbers
    if is_filled:
        return
    amount = f"{tensor.elements} elements"
    if tensor.raw_bytes is not None:
        amount = f"{tensor.raw_bytes} bytes"
    raise damaged(f"{what} has the shape {tensor.shown_shape} and {amount} of data")


def _require_extent(offset: int, length: int, needed: int, member: Member, what: str) -> None:
    """Require that external data has the length that its shape needs, and is within its file.

    Raises:
        Refusal: `model_invalid`.
    """
    is_within = offset >= 0 and offset + length <= member.size
    if length != needed or not is_within:
        raise damaged(
            f"{what} needs {needed} bytes, and states {length} bytes at byte {offset} of "
            f"{member.name[:80]}, which has {member.size}"
        )


def _elsewhere(what: str, location: str) -> Refusal:
    """Return the refusal of a tensor in a file that is not in the upload.

    A path is an attempt to reach other files, a plain name is most likely a mistake.
    """
    is_path = set(location) & set("/\\\0:") or location in ("", ".", "..")
    if is_path or len(location) > _LONGEST_NAME:
        return unsafe(
            f"{what} is in the file {location[:100]!r}", "a file that was uploaded with the model"
        )
    return unsupported(
        f"{what} is in another file, {location[:100]!r}, which was not uploaded; send a zip or tar "
        "archive of the model and its files, or save it as one file (onnx.save with "
        "save_as_external_data=False)",
        bundle.EXPECTED,
        f"a reference to {location[:80]!r}",
    )


def _bytes(elements: int, bits: int) -> int:
    """Return the bytes of elements that are packed without gaps.

    >>> _bytes(5, 32), _bytes(3, 4)
    (20, 2)
    """
    return (elements * bits + 7) // 8


def _shown_shape(dims: list[int]) -> str:
    """Return a shape as a refusal shows it: a hostile one may have countless axes.

    >>> _shown_shape([2, 3])
    '(2, 3)'
    """
    return str(tuple(dims)[:_SHOWN_AXES])
