"""The directory of a zip archive, read without an object for each of any number of members."""

import io
import struct
import zipfile
from pathlib import Path

from convpress.formats import EXPECTED, FIELD
from convpress.refusal import Code, Refusal

ZIP_MAGIC = b"PK\x03\x04"
_LARGEST_DIRECTORY = 4 * 1024**2  # bytes: some 40,000 members


class SmallReads(io.FileIO):
    """A file that gives no more than a directory's worth at once.

    zipfile would keep an object for every member.
    """

    def read(self, size: int | None = -1, /) -> bytes:
        """Read so many bytes, or what a directory may take."""
        if size is not None and size > _LARGEST_DIRECTORY:
            raise zipfile.BadZipFile(
                f"a directory of {size} bytes, where {_LARGEST_DIRECTORY} are plenty"
            )
        return super().read(_LARGEST_DIRECTORY if size is None or size < 0 else size)


def directory(path: Path) -> tuple[list[zipfile.ZipInfo], int]:
    """Return the members of the zip archive at `path` and where its directory begins.

    Raises:
        Refusal: `model_truncated` where it has no readable directory.
    """
    try:
        with SmallReads(path) as file, zipfile.ZipFile(file) as archive:
            return archive.infolist(), archive.start_dir
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, struct.error) as error:
        raise Refusal(
            Code.MODEL_TRUNCATED,
            f"the zip archive has no readable directory at its end ({error}); "
            "was the upload cut short?",
            field=FIELD,
            expected=EXPECTED,
            got=f"{path.stat().st_size} bytes that begin as a zip archive",
        ) from error
