"""Tensors whose elements are stored in a file: the reference, and the array that it stands for."""

from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnx import SparseTensorProto, TensorProto, helper, numpy_helper

from convpress.refusal import Refusal
from worker.engine.formats.onnx.storage.refusals import invalid_file
from worker.engine.formats.onnx.storage.wire import Extent
from worker.engine.numerics import memory

# Below this size a copy costs less than a mapping.
_LEAST_MAPPED_BYTES = 1 << 20


def is_external(tensor: TensorProto) -> bool:
    """Return whether a tensor's elements are stored outside its message."""
    return tensor.data_location == TensorProto.EXTERNAL or len(tensor.external_data) > 0


def extent_of(tensor: TensorProto) -> Extent:
    """Return the bytes of the source file that a tensor of a skeleton refers to."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    return Extent(int(entries["offset"]), int(entries["length"]))


def set_reference(tensor: TensorProto, location: str, extent: Extent) -> None:
    """Make a tensor refer to bytes of the file named `location`.

    >>> tensor = TensorProto(name="w")
    >>> set_reference(tensor, "model.onnx", Extent(offset=64, length=400))
    >>> is_external(tensor), extent_of(tensor)
    (True, Extent(offset=64, length=400))
    """
    entries = {
        "location": location,
        "offset": str(extent.offset),
        "length": str(extent.length),
    }
    # Entries of an older reference must not stay.
    del tensor.external_data[:]
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=value)


def array(tensor: TensorProto, source: Path) -> NDArray[np.generic]:
    """Return a copy of the elements of a tensor of a skeleton that was read from `source`.

    Raises:
        Refusal: `model_invalid` where its data does not fill its shape.
    """
    if is_external(tensor):
        dtype, extent = _stored(tensor)
        elements = np.fromfile(
            source, dtype, count=prod(tensor.dims), offset=extent.offset
        )
        return elements.reshape(tuple(tensor.dims))
    try:
        return numpy_helper.to_array(tensor)
    except (KeyError, TypeError, ValueError) as error:
        raise _wrong_length(tensor, error) from error


def mapped(tensor: TensorProto, source: Path) -> NDArray[np.generic]:
    """Return the elements of a tensor; a large one is mapped from the file instead of copied.

    A mapped array may begin at any byte. Writing to it does not change the file.

    Raises:
        Refusal: `model_invalid` where its data does not fill its shape.
    """
    if not is_external(tensor):
        return array(tensor, source)
    if extent_of(tensor).length < _LEAST_MAPPED_BYTES:
        return array(tensor, source)
    # Pages are read when they are used, and the system may drop them again.
    dtype, extent = _stored(tensor)
    return memory.mapped(source, dtype, extent.offset, tuple(tensor.dims))


def _stored(tensor: TensorProto) -> tuple[np.dtype[np.generic], Extent]:
    """Return the type and the bytes of a tensor in the file, which must fill its shape."""
    try:
        dtype = helper.tensor_dtype_to_np_dtype(tensor.data_type)
        extent = extent_of(tensor)
        if extent.length != prod(tensor.dims) * dtype.itemsize:
            raise ValueError(f"{extent.length} bytes")
    except (KeyError, TypeError, ValueError) as error:
        raise _wrong_length(tensor, error) from error
    return dtype, extent


def _wrong_length(tensor: TensorProto, error: Exception) -> Refusal:
    shape = tuple(tensor.dims)
    return invalid_file(
        f"the data of {tensor.name!r} does not fill its shape {shape}: {error}",
        f"a tensor of type {tensor.data_type}",
    )


def dense(sparse: SparseTensorProto) -> TensorProto:
    """Return a sparse tensor with its zeros.

    Its indices are positions in the flattened tensor, or one coordinate per axis.
    """
    values = numpy_helper.to_array(sparse.values)
    indices = numpy_helper.to_array(sparse.indices)
    elements = np.zeros(tuple(sparse.dims), values.dtype)
    is_flat = indices.ndim == 1
    coordinates = (
        np.unravel_index(indices, elements.shape) if is_flat else tuple(indices.T)
    )
    elements[coordinates] = values
    return numpy_helper.from_array(elements)
