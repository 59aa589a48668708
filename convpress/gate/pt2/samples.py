"""Copies of an archive without what torch would run: its sample inputs, and its guards.

Sample inputs are a pickle, which torch.export.load opens. Guards are Python, which the module of a
program runs where there are sample inputs; they repeat in code what the graph needs of its inputs.
"""

import json
import zipfile
import zlib
from pathlib import Path

from convpress.gate import archive
from convpress.gate.archive import Member
from convpress.gate.mapped import mapped
from convpress.gate.pt2.archive import PROGRAM, SAMPLES
from convpress.gate.refusals import damaged
from convpress.gate.zip_directory import read_directory
from convpress.limits import Limits

_DEFAULT_LIMITS = Limits()


def write_without_samples(
    path: Path, target: Path, limits: Limits = _DEFAULT_LIMITS
) -> None:
    """Copy the archive at `path` to `target`, with sample inputs and guards emptied.

    All other members keep their contents, names and order; none is compressed. torch.export.load
    opens the copy, and its program has no example inputs. `path` has passed `require_safe_pt2`.

    Raises:
        Refusal: `model_invalid` where a member has another checksum than it states.
    """
    infos, directory_start = read_directory(path)
    folder = infos[0].orig_filename.partition("/")[0]
    with (
        mapped(path) as view,
        zipfile.ZipFile(target, "w") as copy,
    ):
        for member in archive.members(view, infos, directory_start, limits):
            name = zipfile.ZipInfo(f"{folder}/{member.name}")
            if member.name == SAMPLES:
                copy.writestr(name, b"")
            elif member.name == PROGRAM:
                copy.writestr(name, _without_guards(archive.read(view, member)))
            elif member.deflated:
                copy.writestr(name, archive.read(view, member))
            else:
                _copy(view, member, copy, name)


def _without_guards(content: bytes) -> bytes:
    """Return a program with no guards; the same bytes where it has none."""
    program = json.loads(content)
    if not program.get("guards_code"):
        return content
    return json.dumps(program | {"guards_code": []}).encode()


def _copy(
    view: memoryview, member: Member, copy: zipfile.ZipFile, name: zipfile.ZipInfo
) -> None:
    """Copy a stored member without a second copy in memory."""
    with view[member.start : member.end] as part:
        if zlib.crc32(part) != member.crc:
            raise damaged(f"member {member.name} has another checksum than it states")
        # zipfile takes any buffer.
        copy.writestr(name, part)
