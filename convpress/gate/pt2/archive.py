"""A torch.export archive, read and checked without torch: its members, its program, its tensors.

Source: torch/export/pt2_archive/_package.py and pt2_archive_constants.h of torch 2.13.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from convpress.gate import archive
from convpress.gate.archive import Member
from convpress.gate.mapped import mapped
from convpress.gate.pt2.graphs import require_consistent
from convpress.gate.pt2.json_text import Json, parse
from convpress.gate.pt2.program_schema import program
from convpress.gate.pt2.schema import StoredTensor, brief
from convpress.gate.pt2.tensors import CONSTANTS, WEIGHTS, stored_tensors
from convpress.gate.pt2.versions import require_known_version
from convpress.gate.refusals import damaged, over_limit, unsafe, unsupported
from convpress.gate.zip_directory import read_directory
from convpress.limits import Limits

PROGRAM = "models/model.json"
SAMPLES = "data/sample_inputs/model.pt"
_WEIGHTS_INDEX = f"{WEIGHTS}model_weights_config.json"
_CONSTANTS_INDEX = f"{CONSTANTS}model_constants_config.json"
_FORMAT = "archive_format"
_VERSION = "archive_version"
_BYTE_ORDER = "byteorder"
_NEEDED = (_FORMAT, _VERSION, PROGRAM, SAMPLES, _WEIGHTS_INDEX, _CONSTANTS_INDEX)
_SMALL = {_FORMAT: b"pt2", _VERSION: b"0", _BYTE_ORDER: b"little"}
_LONGEST_NOTE = 1000
_NOTES = re.compile(
    r"\.data/(version|serialization_id)|\.format_version|\.storage_alignment"
)
_TENSORS = re.compile(rf"({WEIGHTS}weight_|{CONSTANTS}tensor_)[0-9]{{1,9}}")
_EXTRA = re.compile(r"extra/.+")
_OBJECTS = re.compile(rf"{CONSTANTS}(custom_obj|opaque_obj)_.*")
_PICKLED = re.compile(rf"({WEIGHTS}|{CONSTANTS}).*\.pt")
_PROGRAMS = re.compile(r"models/(?P<name>.*)\.json")
_EXPECTED = "the members that torch.export.save writes"
_DEFAULT_LIMITS = Limits()


@dataclass(frozen=True)
class Archive:
    """What an archive holds, after the gate has checked it.

    Attributes:
        path: The file.
        folder: The one folder of its members; torch names it after the file.
        members: The members by their names below the folder.
        schema_version: Major and minor version of the program's schema.
        torch_version: The version of torch that wrote it.
        weights: Parameters and buffers by name.
        constants: Constant tensors, and buffers that are not saved, by name.
        program: The program as JSON gives it, as the schema says (`program_schema`).
    """

    path: Path
    folder: str
    members: Mapping[str, Member]
    schema_version: tuple[int, int]
    torch_version: str
    weights: Mapping[str, StoredTensor]
    constants: Mapping[str, StoredTensor]
    program: Mapping[str, Json]

    @property
    def extras(self) -> list[Member]:
        """The files that users put into the archive."""
        return [
            member for name, member in self.members.items() if _EXTRA.fullmatch(name)
        ]


def read_archive(path: Path, limits: Limits = _DEFAULT_LIMITS) -> Archive:
    """Return the archive at `path`, checked except for its extra files.

    Sample inputs are a pickle, which nothing here reads: open a copy by `samples.py` alone.

    Raises:
        Refusal: `model_truncated`, `model_invalid`, `model_unsafe`, `model_unsupported` or
            `model_over_limit`.
    """
    infos, directory_start = read_directory(path)
    with mapped(path) as view:
        accepted = archive.members(view, infos, directory_start, limits)
        members = {member.name: member for member in accepted}
        _require_members(members)
        _require_notes(view, members)
        described = _json(view, members[PROGRAM], limits)
        indices = [
            _json(view, members[name], limits)
            for name in (_WEIGHTS_INDEX, _CONSTANTS_INDEX)
        ]
    if not isinstance(described, dict):
        raise damaged(f"{PROGRAM} is no object")
    schema_version, torch_version = require_known_version(described)
    program(limits)(described, PROGRAM)
    weights = stored_tensors(indices[0], WEIGHTS, members, limits)
    constants = stored_tensors(indices[1], CONSTANTS, members, limits)
    _require_used(members, [*weights.values(), *constants.values()])
    require_consistent(described, weights, constants, limits)
    return Archive(
        path=path,
        folder=infos[0].orig_filename.partition("/")[0],
        members=members,
        schema_version=schema_version,
        torch_version=torch_version,
        weights=weights,
        constants=constants,
        program=described,
    )


def _require_members(members: Mapping[str, Member]) -> None:
    for member in members.values():
        _require_known(member)
    for name in _NEEDED:
        if name not in members:
            raise damaged(f"the archive has no member {name}")


def _require_known(member: Member) -> None:
    """Require a member that torch.export.save writes; all but texts is stored plainly."""
    name = member.name
    match = _PROGRAMS.fullmatch(name)
    if match and name != PROGRAM:
        raise unsupported(
            f"the archive has a program called {brief(match['name'])}: save each program on its "
            "own, by torch.export.save",
            "one program, called model",
        )
    if _OBJECTS.fullmatch(name):
        raise unsafe(
            f"the archive has an object, {name}, which is a pickle", "plain tensors"
        )
    if _PICKLED.fullmatch(name):
        raise unsafe(
            f"the archive has its tensors in a pickle, {name}", "tensors as plain bytes"
        )
    is_known = (
        name in _NEEDED
        or name == _BYTE_ORDER
        or any(pattern.fullmatch(name) for pattern in (_NOTES, _TENSORS, _EXTRA))
    )
    if not is_known:
        raise unsafe(f"the archive has a member {brief(name)}", _EXPECTED)
    if member.deflated and not name.endswith(".json") and not _EXTRA.fullmatch(name):
        raise unsafe(
            f"member {brief(name)} is compressed", "tensors that are plainly stored"
        )


def _require_notes(view: memoryview, members: Mapping[str, Member]) -> None:
    """Require the notes on the archive itself to say what this reader knows."""
    for name, member in members.items():
        expected = _SMALL.get(name)
        is_note = expected is not None or _NOTES.fullmatch(name) is not None
        if is_note and member.size > _LONGEST_NOTE:
            raise damaged(
                f"{name} has {member.size} bytes, above the {_LONGEST_NOTE} of a note"
            )
        if expected is not None and archive.read(view, member) != expected:
            raise unsupported(
                f"the archive's {name} is another than torch writes on this kind of machine",
                f"{name} of {expected.decode()}",
            )


def _json(view: memoryview, member: Member, limits: Limits) -> Json:
    if member.size > limits.json_bytes:
        raise over_limit(
            f"{member.name} has {member.size} bytes",
            f"at most {limits.json_bytes} bytes",
        )
    try:
        text = archive.read(view, member).decode()
    except UnicodeDecodeError as error:
        raise damaged(f"{member.name} is not UTF-8 ({error.reason})") from error
    return parse(text, member.name, limits)


def _require_used(members: Mapping[str, Member], tensors: list[StoredTensor]) -> None:
    """Require each member of tensors to be that of a tensor."""
    used = {tensor.member for tensor in tensors}
    for name in members:
        if _TENSORS.fullmatch(name) and name not in used:
            raise unsafe(f"no tensor is in the member {name}", _EXPECTED)
