"""The data folder of this process: the one that it began with, or none.

The folder can be deleted, replaced or not mounted while the service runs. A process that went on in
a new, empty folder would lose what it is given. A file in the folder therefore holds a random name,
which each process reads at its start.
"""

import os
import secrets
from functools import cache
from pathlib import Path

from app.settings import Settings

_MARK = ".convpress"


class DataFolderGone(OSError):
    """The data folder is missing, or is not the one that this process began with."""

    def __init__(self) -> None:
        super().__init__(
            "the data folder (CONVPRESS_DATA_DIR) is missing, or is another one than at the start: "
            "put it back as it was, or restart the service"
        )


def prepare(settings: Settings) -> None:
    """Make the data folder if there is none, and remember its name: this process begins with it."""
    _name_at_start(settings.data_dir.absolute())


def check(settings: Settings) -> None:
    """Check that the data folder is still the one that this process began with.

    Raises:
        DataFolderGone: it is not.
    """
    folder = settings.data_dir.absolute()
    name_at_start = _name_at_start(folder)
    try:
        name = _read_name(folder)
    except OSError as error:
        raise DataFolderGone from error
    if name != name_at_start:
        raise DataFolderGone


@cache
def _name_at_start(folder: Path) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    try:
        return _read_name(folder)
    except FileNotFoundError:
        return _write_name(folder)


def _read_name(folder: Path) -> str:
    return (folder / _MARK).read_text()


def _write_name(folder: Path) -> str:
    """Name a folder; of several processes that begin at the same time, one names it."""
    part = folder / f"{_MARK}.{secrets.token_hex(8)}"
    part.write_text(secrets.token_hex(16))
    try:
        os.link(part, folder / _MARK)
    except FileExistsError:
        pass
    finally:
        part.unlink()
    return _read_name(folder)
