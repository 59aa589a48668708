"""What a TorchScript archive may be made of: members, pickles and source, checked before torch reads a byte of it."""

import mmap
import re
from collections.abc import Sequence
from pathlib import Path

from convpress.gate import archive
from convpress.gate.archive import Member, invalid, over_limit, unsafe
from convpress.gate.torchscript import pickles as torchscript_pickle
from convpress.gate.torchscript import source
from convpress.gate.zip_directory import read_directory
from convpress.limits import Limits

_SOURCE = re.compile(r"code/.+\.py")
_PICKLE = re.compile(r"(data|constants)\.pkl")
_NOTES = re.compile(r"code/.+\.debug_pkl")
_OTHER = re.compile(
    r"(data|constants|traced_inputs)/[0-9]+|(traced_inputs|bytecode|mobile_debug_handles)\.pkl|version|byteorder|\.format_version|\.storage_alignment"
    r"|\.data/[a-z_]+|extra/.+"
)


def check(path: Path, limits: Limits) -> None:
    """Check the archive at `path`.

    Raises:
        Refusal: `model_truncated`, `model_invalid`, `model_unsafe`, `model_unsupported` or `model_over_limit`, with
            what was found where.
    """
    infos, start = read_directory(path)
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
        memoryview(content) as view,
    ):
        members = archive.members(view, infos, start, limits)
        sizes = {member.name: member.size for member in members}
        sources = [member for member in members if _SOURCE.fullmatch(member.name)]
        pickles = [member for member in members if _PICKLE.fullmatch(member.name)]
        notes = [member for member in members if _NOTES.fullmatch(member.name)]
        for member in members:
            if not any(form.fullmatch(member.name) for form in (_SOURCE, _PICKLE, _NOTES)):
                _check_other(member)
        _bound("source", sources, 8 * limits.source_tokens)
        _bound("pickles", [*pickles, *notes], limits.pickle_bytes)
        for member in pickles:
            torchscript_pickle.check(archive.read(view, member), member.name, sizes, limits)
        for member in notes:
            torchscript_pickle.check_plain(archive.read(view, member), member.name, limits)
        source.check({member.name: _text(view, member) for member in sources}, limits)


def _check_other(member: Member) -> None:
    if not _OTHER.fullmatch(member.name):
        raise unsafe(
            f"the archive has a member {member.name[:100]}",
            "the members that torch.jit.save writes",
        )
    if member.deflated and member.name.startswith(("data/", "constants/")):
        raise unsafe(
            f"member {member.name} is compressed", "compressed source, and all else plainly stored"
        )


def _bound(what: str, members: Sequence[Member], largest: int) -> None:
    size = sum(member.size for member in members)
    if size > largest:
        raise over_limit(f"the archive holds {size} bytes of {what}", f"at most {largest} bytes")


def _text(view: memoryview, member: Member) -> str:
    try:
        return archive.read(view, member).decode()
    except UnicodeDecodeError as error:
        raise invalid(f"{member.name} is not UTF-8 ({error})") from error
