"""The directory of a zip archive, read in bounded memory."""

import io
import struct
import zipfile
from pathlib import Path

from convpress.formats import EXPECTED, FIELD
from convpress.gate.refusals import over_limit
from convpress.refusal import Code, Refusal

ZIP_MAGIC = b"PK\x03\x04"
_LARGEST_DIRECTORY = 4 * 1024**2
_MOST_ENTRIES = 20_000
# In bytes, of what an entry has besides its name and comment: sizes, times, owners. zipfile copies
# the rest of it after each part.
_LONGEST_EXTRA = 4096
_MOST_EXTRA = 1024**2
_ENTRY_MAGIC = b"PK\x01\x02"
# The magic, and the lengths of the name, of the extra field and of the comment.
_ENTRY = struct.Struct("<4s24xHHH12x")


class DirectoryTooLarge(zipfile.BadZipFile):
    """The directory has more or longer entries than a model's; the message has the limit."""


class BoundedReads(io.FileIO):
    """A file whose reads return at most 4 MiB, and of a directory at most 20,000 entries.

    zipfile reads the whole directory at once, and keeps an object for every member in it.
    """

    def read(self, size: int | None = -1, /) -> bytes:
        """Read `size` bytes, or at most 4 MiB where no size is given.

        Raises:
            DirectoryTooLarge: a larger size, or a directory of too many or too long entries.
        """
        if size is None or size < 0:
            size = _LARGEST_DIRECTORY
        if size > _LARGEST_DIRECTORY:
            raise DirectoryTooLarge(
                f"a directory of {size} bytes, above the limit of {_LARGEST_DIRECTORY}"
            )
        content = super().read(size)
        _require_bounded(content)
        return content


def _require_bounded(content: bytes) -> None:
    """Require few and short entries of bytes that are a directory."""
    position = 0
    entries = 0
    all_extra = 0
    while content.startswith(_ENTRY_MAGIC, position) and position + _ENTRY.size <= len(
        content
    ):
        _, name, extra, comment = _ENTRY.unpack_from(content, position)
        position += _ENTRY.size + name + extra + comment
        entries += 1
        all_extra += extra
        if entries > _MOST_ENTRIES:
            raise DirectoryTooLarge(f"a directory of more than {_MOST_ENTRIES} entries")
        if extra > _LONGEST_EXTRA or all_extra > _MOST_EXTRA:
            raise DirectoryTooLarge(
                f"an entry with {extra} bytes of extra data, above the limit of {_LONGEST_EXTRA}, "
                f"or {_MOST_EXTRA} of all entries"
            )


def read_directory(path: Path) -> tuple[list[zipfile.ZipInfo], int]:
    """Return the members of the zip archive at `path`, and the offset of its directory.

    Raises:
        Refusal: `model_truncated` where it has no readable directory, `model_over_limit` where that
            is too large.
    """
    try:
        with BoundedReads(path) as file, zipfile.ZipFile(file) as archive:
            return archive.infolist(), archive.start_dir
    except DirectoryTooLarge as error:
        raise over_limit(
            f"the zip archive has {error}",
            f"at most {_MOST_ENTRIES} files with short names",
            f"a zip archive of {path.stat().st_size} bytes",
        ) from error
    except (
        zipfile.BadZipFile,
        OSError,
        ValueError,
        NotImplementedError,
        struct.error,
    ) as error:
        raise Refusal(
            Code.MODEL_TRUNCATED,
            f"the zip archive has no readable directory at its end ({error}); was the upload cut "
            "short?",
            field=FIELD,
            expected=EXPECTED,
            got=f"{path.stat().st_size} bytes that begin as a zip archive",
        ) from error
