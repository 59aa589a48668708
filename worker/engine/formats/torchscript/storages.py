"""Check that a TorchScript archive holds as many bytes as its tensors claim.

torch does not: it would read beyond the end of a shorter member.
"""

import io
import pickle
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import torch

from convpress.formats import FIELD
from convpress.refusal import Code, Refusal
from worker.engine.formats.aten.errors import TORCH_ERRORS
from worker.engine.formats.torchscript.file import members

# Bytes of one number by the name of its storage's class; a class that is not known counts bytes.
_ITEM_SIZES = {
    name: dtype.itemsize
    for dtype, name in torch.storage._dtype_to_storage_type_map().items()
}
_MALFORMED = (
    *TORCH_ERRORS,
    pickle.UnpicklingError,
    EOFError,
    zipfile.BadZipFile,
    zlib.error,
    OSError,
)


def check(path: Path) -> None:
    """Check every tensor's storage against the member of the archive that holds its bytes.

    Raises:
        Refusal: `model_truncated` where the archive has no directory, `model_invalid` where a
            member is too short or the archive's list of its tensors cannot be read.
    """
    sizes: dict[str, int] = {}
    for member in members(path):
        name = member.filename.partition("/")[2]
        size = member.file_size
        # Of two members of one name torch may read either, so the shorter one has to do.
        known_size = sizes.get(name, size)
        sizes[name] = min(size, known_size)
    try:
        with zipfile.ZipFile(path) as archive:
            claims = [*_claims(archive, "data"), *_claims(archive, "constants")]
    except _MALFORMED as error:
        raise _invalid(f"its list of tensors cannot be read ({error})") from error
    for name, needed in claims:
        held = sizes.get(name, 0)
        if not 0 <= needed <= held:
            raise _invalid(
                f"a tensor of {needed} bytes lies in {name}, which holds {held}"
            )


def _claims(archive: zipfile.ZipFile, part: str) -> Iterator[tuple[str, int]]:
    """Yield member and number of bytes of every storage that a pickle of the archive names."""
    first, *_ = archive.namelist()
    root = first.partition("/")[0]
    name = f"{root}/{part}.pkl"
    content = archive.read(name)
    stream = io.BytesIO(content)
    reader = _Reader(stream)
    reader.load()
    for kind, storage, key, _, elements, *_ in reader.storages:
        if kind != "storage":
            raise pickle.UnpicklingError(f"a reference of kind {kind!r}")
        item_size = _ITEM_SIZES.get(storage.__name__, 1)
        yield f"{part}/{key}", int(elements) * item_size


class _Inert:
    """Stands for any class that a pickle names: accepts everything, does nothing."""

    def __new__(cls, *_: object) -> "_Inert":
        return super().__new__(cls)

    def __init__(self, *_: object) -> None: ...

    def __setstate__(self, state: object) -> None: ...

    def __setitem__(self, key: object, value: object) -> None: ...

    def append(self, item: object) -> None: ...


class _Reader(pickle._Unpickler):
    """Reads a pickle without importing or calling anything, and notes the storages it names."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.storages: list[Any] = []

    def find_class(self, module_name: str, global_name: str, /) -> type[_Inert]:  # noqa: ARG002
        return type(global_name, (_Inert,), {})

    def persistent_load(self, pid: Any) -> None:  # noqa: ANN401 - whatever the pickle holds
        self.storages.append(pid)

    def _reduce(self) -> None:
        """Put a stand-in in the place of a function and its arguments.

        torch writes a value of an enumeration as a call without a tuple, which Python's own reader
        does not take.
        """
        stack: list[Any] = vars(self)[
            "stack"
        ]  # missing from Python's stubs, as the table below
        stack.pop()
        stack[-1] = _Inert()

    dispatch: ClassVar[Any] = {**pickle._Unpickler.dispatch, pickle.REDUCE[0]: _reduce}


def _invalid(detail: str) -> Refusal:
    return Refusal(
        Code.MODEL_INVALID,
        f"the TorchScript archive is damaged: {detail[:300]}",
        field=FIELD,
    )
