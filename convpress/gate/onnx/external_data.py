"""The data of an ONNX file's tensors that lies in other files: those of the same bundle alone."""

from convpress.gate import bundle
from convpress.gate.bundle import Bundle, Member
from convpress.gate.onnx.wire import Wire, shown
from convpress.gate.protobuf import Field
from convpress.gate.refusals import damaged, unsafe, unsupported
from convpress.refusal import Refusal

_ENTRY_KEY = 1
_ENTRY_VALUE = 2
_EXTERNAL_KEYS = frozenset({b"location", b"offset", b"length", b"checksum"})
_LONGEST_NAME = 255


def require_external(
    wire: Wire, archive: Bundle | None, fields: list[Field], needed: int, what: str
) -> None:
    """Require that a tensor's data is in a file of the bundle, with `needed` bytes.

    Raises:
        Refusal: `model_unsafe` for a path, `model_unsupported` for a file that was not
            uploaded, `model_invalid` for bytes that the file does not have.
    """
    entries = _entries(wire, fields, what)
    location = entries.get(b"location", b"").decode(errors="replace")
    member = archive.find(location) if archive else None
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


def _entries(wire: Wire, fields: list[Field], what: str) -> dict[bytes, bytes]:
    """Return the keys and values of external data, each key once.

    Raises:
        Refusal: `model_unsafe` for a key that is unknown or comes twice.
    """
    entries: dict[bytes, bytes] = {}
    once = (_ENTRY_KEY, _ENTRY_VALUE)
    for entry in fields:
        pair = {}
        for field in wire.messages(entry, what, once):
            if field.number in once:
                pair[field.number] = wire.text(field)
        key = pair.get(_ENTRY_KEY, b"")
        if key in entries or key not in _EXTERNAL_KEYS:
            raise unsafe(
                f"{what} states {shown(key)} of its file, or states it twice",
                "location, offset, length, checksum",
            )
        entries[key] = pair.get(_ENTRY_VALUE, b"")
    return entries


def _require_extent(
    offset: int, length: int, needed: int, member: Member, what: str
) -> None:
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
            f"{what} is in the file {location[:100]!r}",
            "a file that was uploaded with the model",
        )
    return unsupported(
        f"{what} is in another file, {location[:100]!r}, which was not uploaded; send a zip or tar "
        "archive of the model and its files, or save it as one file (onnx.save with "
        "save_as_external_data=False)",
        bundle.EXPECTED,
        f"a reference to {location[:80]!r}",
    )
