"""The index of weights or constants: each tensor must lie within the member with its bytes."""

import re
from collections import defaultdict
from collections.abc import Mapping
from math import prod

from convpress.gate.archive import Member
from convpress.gate.pt2 import names
from convpress.gate.pt2.json_text import Json
from convpress.gate.pt2.schema import (
    Place,
    StoredTensor,
    brief,
    flag,
    map_of,
    record,
    shown,
    text,
)
from convpress.gate.pt2.tensor_schema import DTYPES, tensor_meta
from convpress.gate.refusals import damaged, over_limit, unsafe
from convpress.limits import Limits

WEIGHTS = "data/weights/"
CONSTANTS = "data/constants/"
_PREFIXES = {WEIGHTS: "weight_", CONSTANTS: "tensor_"}
_NUMBER = re.compile(r"[0-9]{1,9}")
_LONGEST_NAME = 100
# torch trains nothing else.
_TRAINABLE = ("float", "complex", "bfloat")


def stored_tensors(
    index: Json, folder: str, members: Mapping[str, Member], limits: Limits
) -> dict[str, StoredTensor]:
    """Return the tensors of an index by name; `folder` is `WEIGHTS` or `CONSTANTS`.

    Raises:
        Refusal: `model_unsafe` for a tensor that would be unpickled, `model_invalid` for one that
            does not fit its member, `model_unsupported`, or `model_over_limit`.
    """
    place = f"the index of {folder}"
    _is_index(index, place)
    entries = index["config"]
    if len(entries) > limits.tensors:
        raise over_limit(
            f"{place} has {len(entries)} tensors", f"at most {limits.tensors}"
        )
    is_tensor = tensor_meta(limits)
    tensors = {}
    for name, entry in entries.items():
        at = ((place, "config"), name)
        _require_plain(entry, folder, at)
        is_tensor(entry["tensor_meta"], (at, "tensor_meta"))
        tensor = _stored(name, entry, folder, at)
        _require_within(tensor, members, at)
        tensors[name] = tensor
    _require_bounded(tensors, members, limits)
    return tensors


_is_index = record(
    {
        "config": map_of(
            names.path,
            record(
                {
                    "path_name": text(_LONGEST_NAME),
                    "is_param": flag,
                    "use_pickle": flag,
                    # Checked when it is known that there is one.
                    "tensor_meta": lambda _value, _place: None,
                }
            ),
        )
    }
)


def _require_plain(entry: Mapping[str, Json], folder: str, place: Place) -> None:
    """Require a tensor of bytes, and no object that torch would unpickle."""
    path = entry["path_name"]
    prefix = _PREFIXES[folder]
    if entry["use_pickle"] or entry["tensor_meta"] is None:
        raise unsafe(
            f"{shown(place)} is a pickle: an object, or a tensor of a class of its own",
            "weights and constants that are plain tensors",
        )
    number = path.removeprefix(prefix)
    if not path.startswith(prefix) or not _NUMBER.fullmatch(number):
        raise unsafe(
            f"{shown(place)} is in the member {brief(path)}",
            f"members {prefix}0, {prefix}1, ...",
        )


def _stored(
    name: str, entry: Mapping[str, Json], folder: str, place: Place
) -> StoredTensor:
    meta = entry["tensor_meta"]
    dtype, _ = DTYPES[meta["dtype"]]
    if meta["requires_grad"] and not dtype.startswith(_TRAINABLE):
        raise damaged(f"{shown(place)} has gradients, and is of the type {dtype}")
    return StoredTensor(
        name=name,
        member=folder + entry["path_name"],
        dtype=dtype,
        sizes=tuple(_known(size, place) for size in meta["sizes"]),
        strides=tuple(_known(stride, place) for stride in meta["strides"]),
        storage_offset=_known(meta["storage_offset"], place),
        is_parameter=entry["is_param"],
        requires_grad=meta["requires_grad"],
    )


def _known(size: Mapping[str, Json], place: Place) -> int:
    if "as_int" not in size:
        raise damaged(f"{shown(place)} has a size or a stride that is no number")
    return int(size["as_int"])


def item_bytes(dtype: str) -> int:
    """Return the size of an element in bytes.

    >>> item_bytes("bfloat16")
    2
    """
    return next(size for name, size in DTYPES.values() if name == dtype)


def _require_within(
    tensor: StoredTensor, members: Mapping[str, Member], place: Place
) -> None:
    """Require the bytes of a tensor's elements in its member."""
    member = members.get(tensor.member)
    if member is None:
        raise damaged(
            f"{shown(place)} is in {tensor.member}, which the archive does not have"
        )
    size = item_bytes(tensor.dtype)
    if member.size % size:
        raise damaged(
            f"{tensor.member} has {member.size} bytes, no whole number of {tensor.dtype}"
        )
    last = tensor.storage_offset
    for length, stride in zip(tensor.sizes, tensor.strides, strict=True):
        last += (length - 1) * stride
    needed = 0 if 0 in tensor.sizes else (last + 1) * size
    if needed > member.size:
        raise damaged(
            f"{shown(place)} reaches to byte {needed} of {tensor.member}, which has {member.size}"
        )


def _require_bounded(
    tensors: Mapping[str, StoredTensor], members: Mapping[str, Member], limits: Limits
) -> None:
    """Require one type a member, and tensors that are not larger than their bytes."""
    types: defaultdict[str, set[str]] = defaultdict(set)
    spread = 0
    for tensor in tensors.values():
        types[tensor.member].add(tensor.dtype)
        size = prod(tensor.sizes) * item_bytes(tensor.dtype)
        if size > members[tensor.member].size:
            # Steps of zero repeat an element.
            spread += size
    for member, dtypes in types.items():
        if len(dtypes) > 1:
            raise damaged(
                f"the tensors in {member} are of the types {', '.join(sorted(dtypes))}"
            )
    if spread > limits.inflated_bytes:
        raise over_limit(
            f"tensors that repeat their elements have {spread} bytes",
            f"at most {limits.inflated_bytes}",
        )
