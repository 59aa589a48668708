"""The gate for TorchScript archives: members, pickles and source, checked before torch opens it."""

import re
from collections.abc import Sequence
from pathlib import Path

from convpress.gate import archive
from convpress.gate.archive import Member
from convpress.gate.mapped import mapped
from convpress.gate.refusals import damaged, over_limit, unsafe, unsupported
from convpress.gate.torchscript.extras import require_safe_extra
from convpress.gate.torchscript.pickles import PickleCheck, StepBudget
from convpress.gate.torchscript.source import require_safe_source
from convpress.gate.zip_directory import read_directory
from convpress.limits import Limits

_SOURCE = re.compile(r"code/.+\.py")
_PICKLE = re.compile(r"(data|constants|traced_inputs)\.pkl")
_NOTES = re.compile(r"code/.+\.debug_pkl")
_EXTRA = re.compile(r"extra/.+")
_OTHER = re.compile(
    r"(data|constants|traced_inputs)/[0-9]+"
    r"|(bytecode|mobile_debug_handles)\.pkl"
    r"|version|byteorder|\.format_version|\.storage_alignment"
    r"|\.data/[a-z_]+"
)
# Archives of the mobile interpreter, as torch 1.12 wrote them, hold their constants in these.
_MOBILE_CONSTANTS = re.compile(r"constants/[0-9]+\.storage")
# A word of source has a few letters; the words themselves are counted later.
_MOST_BYTES_PER_TOKEN = 8


def require_safe_torchscript(path: Path, limits: Limits) -> None:
    """Require that the archive at `path` has nothing that no network needs.

    Raises:
        Refusal: `model_truncated`, `model_invalid`, `model_unsafe`, `model_unsupported` or
            `model_over_limit`.
    """
    infos, directory_start = read_directory(path)
    with mapped(path) as view:
        members = archive.members(view, infos, directory_start, limits)
        _require_safe_members(view, members, limits)


def _require_safe_members(
    view: memoryview, members: Sequence[Member], limits: Limits
) -> None:
    sources = _named(members, _SOURCE)
    pickles = _named(members, _PICKLE)
    notes = _named(members, _NOTES)
    extras = _named(members, _EXTRA)
    checked = {*sources, *pickles, *notes, *extras}
    for member in members:
        if member not in checked:
            _require_known(member)
    # Bounded before anything is inflated.
    _bound("source", sources, _MOST_BYTES_PER_TOKEN * limits.source_tokens)
    _bound("pickles", [*pickles, *notes], limits.pickle_bytes)
    _bound("extra files", extras, limits.inflated_bytes)
    # A tensor must not reach beyond the member of its storage.
    sizes = {member.name: member.size for member in members}
    check = PickleCheck(sizes, limits, StepBudget(limits))
    for member in pickles:
        check.require_safe(archive.read(view, member), member.name)
    for member in notes:
        check.require_plain(archive.read(view, member), member.name)
    for member in extras:
        require_safe_extra(archive.read(view, member), member.name, limits)
    texts = {member.name: _text(view, member) for member in sources}
    require_safe_source(texts, limits)


def _named(members: Sequence[Member], pattern: re.Pattern[str]) -> list[Member]:
    return [member for member in members if pattern.fullmatch(member.name)]


def _require_known(member: Member) -> None:
    """Require a member that torch.jit.save writes; torch maps those with weights, uncompressed."""
    if _MOBILE_CONSTANTS.fullmatch(member.name):
        raise unsupported(
            f"the archive holds {member.name}, a constant for the interpreter of mobile devices",
            "the model from before optimize_for_mobile",
        )
    if not _OTHER.fullmatch(member.name):
        raise unsafe(
            f"the archive has a member {member.name[:100]}",
            "the members that torch.jit.save writes",
        )
    if member.deflated and member.name.startswith(("data/", "constants/")):
        raise unsafe(
            f"member {member.name} is compressed",
            "compressed source, and all else plainly stored",
        )


def _bound(what: str, members: Sequence[Member], largest: int) -> None:
    size = sum(member.size for member in members)
    if size > largest:
        raise over_limit(
            f"the archive holds {size} bytes of {what}", f"at most {largest} bytes"
        )


def _text(view: memoryview, member: Member) -> str:
    try:
        return archive.read(view, member).decode()
    except UnicodeDecodeError as error:
        raise damaged(f"{member.name} is not UTF-8 ({error})") from error
