"""Copies of an archive without its sample inputs, which are a pickle that torch would load."""

import mmap
import zipfile
import zlib
from pathlib import Path

from convpress.gate import archive
from convpress.gate.archive import Member
from convpress.gate.pt2.archive import SAMPLES
from convpress.gate.refusals import damaged
from convpress.gate.zip_directory import read_directory
from convpress.limits import Limits


def write_without_samples(path: Path, target: Path, limits: Limits = Limits()) -> None:  # noqa: B008 - frozen
    """Copy the archive at `path` to `target`, with the member of its sample inputs emptied.

    All other members keep their contents, names and order; none is compressed. torch.export.load
    opens the copy, and its program has no example inputs. `path` has passed `require_safe_pt2`.

    Raises:
        Refusal: `model_invalid` where a member has another checksum than it states.
    """
    infos, directory_start = read_directory(path)
    folder = infos[0].orig_filename.partition("/")[0]
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
        memoryview(content) as view,
        zipfile.ZipFile(target, "w") as copy,
    ):
        for member in archive.members(view, infos, directory_start, limits):
            name = zipfile.ZipInfo(f"{folder}/{member.name}")
            if member.name == SAMPLES:
                copy.writestr(name, b"")
            elif member.deflated:
                copy.writestr(name, archive.read(view, member))
            else:
                _copy(view, member, copy, name)


def _copy(view: memoryview, member: Member, copy: zipfile.ZipFile, name: zipfile.ZipInfo) -> None:
    """Copy a stored member without a second copy in memory."""
    with view[member.start : member.end] as part:
        if zlib.crc32(part) != member.crc:
            raise damaged(f"member {member.name} has another checksum than it states")
        # zipfile takes any buffer.
        copy.writestr(name, part)
