"""Identify a model's format by its container alone: nothing in it is loaded, unpickled or run."""

import mmap
from pathlib import Path

from convpress.formats import EXPECTED, EXPORTERS, FIELD, FORMATS, Format
from convpress.gate.container import Container
from convpress.gate.registry import GATES
from convpress.gate.zip_directory import ZIP_MAGIC, directory
from convpress.refusal import Code, Refusal

_EXPORT_INSTEAD = (
    "it is a Python pickle (a state_dict or a whole nn.Module saved by torch.save), which carries "
    f"no network that can be opened safely; export it with {EXPORTERS} instead"
)
_PICKLE_MAGIC = b"\x80"


def identify(path: Path) -> Format:
    """Return the format of the model at `path`.

    Raises:
        Refusal: `model_empty`, `model_truncated`, `model_pickled` or `model_unrecognised`.
    """
    if path.stat().st_size == 0:
        raise Refusal(
            Code.MODEL_EMPTY, "the file is empty", field=FIELD, expected=EXPECTED, got="0 bytes"
        )
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
        memoryview(mapped) as content,
    ):
        magic = bytes(content[: len(ZIP_MAGIC)])
        if magic.startswith(_PICKLE_MAGIC):
            raise _pickled("a pickle")
        members = None
        if magic == ZIP_MAGIC:
            members = tuple(info.filename for info in directory(path)[0])
        container = Container(path, content, members)
        for name, gate in GATES.items():
            if gate.recognise(container):
                return name
        raise _unrecognised(container)


def _unrecognised(container: Container) -> Refusal:
    if "data.pkl" in container.inner_members:
        return _pickled("a pickle archive")
    if container.members is None:
        head = bytes(container.content[:8]).hex()
        detail = f"the file is neither {' nor '.join(spec.noun for spec in FORMATS.values())}"
        got = f"{len(container.content)} bytes that begin with {head}"
    else:
        signs = "; ".join(f"{spec.noun} has {spec.archive_sign}" for spec in FORMATS.values())
        detail = f"the zip archive holds no model: {signs}"
        names = ", ".join(sorted(container.members)[:3])[:200]
        got = f"a zip archive with {names or 'no members'}"
    return Refusal(Code.MODEL_UNRECOGNISED, detail, field=FIELD, expected=EXPECTED, got=got)


def _pickled(got: str) -> Refusal:
    return Refusal(Code.MODEL_PICKLED, _EXPORT_INSTEAD, field=FIELD, expected=EXPECTED, got=got)
