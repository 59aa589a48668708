"""The tensors of an ONNX file: each has the data that its shape needs."""

import dataclasses

from convpress.gate.bundle import Bundle
from convpress.gate.onnx.external_data import require_external
from convpress.gate.onnx.sizes import (
    BITS,
    bound_axes,
    bounded_size,
    packed_bytes,
    shown_shape,
)
from convpress.gate.onnx.wire import Wire, shown
from convpress.gate.protobuf import DELIMITED, VARINT, Field
from convpress.gate.refusals import damaged, over_limit

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

_STRING = 8
# A complex number is two in float_data or double_data.
_COMPLEX = (14, 15)
_PACKED_BITS = (2, 4)


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
        return BITS.get(self.kind, 0)

    @property
    def shown_shape(self) -> str:
        """The shape as a refusal shows it."""
        return shown_shape(self.dims)


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
                "the model has too many tensors",
                f"at most {self._limits.tensors} tensors",
            )
        tensor = self._read(message, where)
        what = f"the tensor {shown(tensor.name)} of {where}"
        if tensor.kind not in BITS and tensor.kind != _STRING:
            raise damaged(
                f"{what} has the element type {tensor.kind}, which does not exist"
            )
        elements = bounded_size(tensor.dims, tensor.bits or 8, what, self._limits)
        if tensor.is_external:
            require_external(
                self._wire,
                self._archive,
                tensor.external,
                packed_bytes(elements, tensor.bits),
                what,
            )
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
                bound_axes(dims, f"a sparse tensor of {where}", self._limits)
        # The type is that of the values: the widest real one is assumed.
        bounded_size(dims, 64, f"a sparse tensor of {where}", self._limits)

    def _read(self, message: Field, where: str) -> _Tensor:
        """Return the fields of a TensorProto; the data itself is measured, not read.

        Raises:
            Refusal: `model_invalid` for a field that comes twice, `model_over_limit`.
        """
        tensor = _Tensor()
        once = (
            _TENSOR_TYPE,
            _TENSOR_SEGMENT,
            _TENSOR_NAME,
            _TENSOR_RAW,
            _TENSOR_LOCATION,
        )
        for field in self._wire.fields(message, f"a tensor of {where}", once):
            if field.number == _TENSOR_DIMS:
                tensor.dims += self._wire.numbers(field)
                bound_axes(tensor.dims, f"a tensor of {where}", self._limits)
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
        is_filled = tensor.raw_bytes == packed_bytes(elements, tensor.bits)
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
