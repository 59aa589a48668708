"""The directory of a zip archive, read in bounded memory."""

import io
import struct
import zipfile
from pathlib import Path

from convpress.formats import EXPECTED, FIELD
from convpress.refusal import Code, Refusal

ZIP_MAGIC = b"PK\x03\x04"
# In bytes, of a zip archive: some 40,000 members.
_LARGEST_DIRECTORY = 4 * 1024**2


class BoundedReads(io.FileIO):
    """A file whose reads return at most 4 MiB, and refuse to return more.

    zipfile reads the whole directory at once, and keeps an object for every member in it.
    """

    def read(self, size: int | None = -1, /) -> bytes:
        """Read `size` bytes, or at most 4 MiB where no size is given.

        Raises:
            BadZipFile: a larger size.
        """
        if size is None or size < 0:
            return super().read(_LARGEST_DIRECTORY)
        if size > _LARGEST_DIRECTORY:
            raise zipfile.BadZipFile(
                f"a directory of {size} bytes, above the limit of {_LARGEST_DIRECTORY}"
            )
        return super().read(size)


def read_directory(path: Path) -> tuple[list[zipfile.ZipInfo], int]:
    """Return the members of the zip archive at `path`, and the offset of its directory.

    Raises:
        Refusal: `model_truncated` where it has no readable directory.
    """
    try:
        with BoundedReads(path) as file, zipfile.ZipFile(file) as archive:
            return archive.infolist(), archive.start_dir
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, struct.error) as error:
        raise Refusal(
            Code.MODEL_TRUNCATED,
            f"the zip archive has no readable directory at its end ({error}); was the upload cut "
            "short?",
            field=FIELD,
            expected=EXPECTED,
            got=f"{path.stat().st_size} bytes that begin as a zip archive",
        ) from error
