"""The torch.export archive: opened from a copy without sample inputs, and written again."""

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch.export import ExportedProgram

from convpress.formats import FIELD
from convpress.gate.pt2.samples import write_without_samples
from convpress.refusal import Code, Refusal
from worker.engine.formats.aten.errors import TORCH_ERRORS, message_of, require_memory

_EXTRA = "extra/"


@contextmanager
def without_samples(path: Path) -> Iterator[Path]:
    """Give a copy of the archive at `path` whose sample inputs, a pickle, are empty.

    torch unpickles them without restriction, so nothing else may open the archive.
    """
    with TemporaryDirectory() as folder:
        copy = Path(folder) / "model.pt2"
        write_without_samples(path, copy)
        yield copy


def load(path: Path) -> ExportedProgram:
    """Load the program at `path`, an archive of `without_samples` or of `save`.

    Raises:
        Refusal: `model_invalid`, `model_unsupported` where it has a structure of another library.
    """
    try:
        return torch.export.load(path)
    except (
        *TORCH_ERRORS,
        OSError,
        EOFError,
        AssertionError,
        NotImplementedError,
    ) as error:
        require_memory(error)
        raise Refusal(
            Code.MODEL_INVALID,
            f"torch cannot load the program of torch.export: {message_of(error)}",
            field=FIELD,
        ) from error


def extra_files(path: Path) -> dict[str, str]:
    """Return the extra files of the archive at `path` by name.

    Raises:
        Refusal: `model_invalid` where one is no text, which torch does not write.
    """
    contents = {}
    with zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            _, _, inner = member.partition("/")
            if not inner.startswith(_EXTRA):
                continue
            name = inner.removeprefix(_EXTRA)
            try:
                contents[name] = archive.read(member).decode()
            except UnicodeDecodeError as error:
                raise Refusal(
                    Code.MODEL_INVALID,
                    f"the archive's extra file {name!r} is no text",
                    field=FIELD,
                    expected="UTF-8, as torch.export.save writes it",
                ) from error
    return contents


def save(program: ExportedProgram, path: Path, extras: dict[str, str]) -> None:
    """Write the program and the archive's extra files; the same program gives the same bytes.

    Raises:
        Refusal: `model_unsupported` where torch cannot write what it has read.
    """
    # torch would name the archive's folder after a path: an open file gives one name to all
    with path.open("wb") as stream:
        try:
            torch.export.save(program, stream, extra_files=extras)
        except (*TORCH_ERRORS, AssertionError, NotImplementedError) as error:
            require_memory(error)
            raise Refusal(
                Code.MODEL_UNSUPPORTED,
                f"torch has read the program, and cannot write it again: {message_of(error)}",
                field=FIELD,
            ) from error
