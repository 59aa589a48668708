"""The format of a model, from its container alone: nothing is loaded, unpickled or run."""

from pathlib import Path

from convpress.formats import EXPECTED, EXPORTERS, FIELD, FORMATS, Format
from convpress.gate import foreign
from convpress.gate.container import Container
from convpress.gate.mapped import mapped
from convpress.gate.registry import GATES
from convpress.gate.zip_directory import ZIP_MAGIC, read_directory
from convpress.refusal import Code, Refusal

_EXPORT_INSTEAD = (
    "it is a Python pickle (a state_dict or a whole nn.Module saved by torch.save), which has no "
    f"network that can be opened safely; export it with {EXPORTERS} instead"
)
_PICKLE_MAGIC = b"\x80"


def identify(path: Path) -> Format:
    """Return the format of the model at `path`.

    Raises:
        Refusal: `model_empty`, `model_truncated`, `model_pickled`, `model_unrecognised`,
            `model_unsupported` for another format, or a code of `bundle.read`.
    """
    # An empty file cannot be mapped.
    if path.stat().st_size == 0:
        raise _refusal(Code.MODEL_EMPTY, "the file is empty", "0 bytes")
    with mapped(path) as content:
        magic = bytes(content[: len(ZIP_MAGIC)])
        if magic != ZIP_MAGIC:
            # First: the beginning of some would pass for a pickle or for a damaged ONNX model.
            foreign.refuse_file(Container(path, content, None))
        # No format begins like a pickle, and none may: pickles are never opened.
        if magic.startswith(_PICKLE_MAGIC):
            raise _refusal(Code.MODEL_PICKLED, _EXPORT_INSTEAD, "a pickle")
        members = _names(path) if magic == ZIP_MAGIC else None
        container = Container(path, content, members)
        for name, gate in GATES.items():
            if gate.recognise(container):
                return name
        # A pickle stays one, whatever lies beside it.
        if "data.pkl" not in container.inner_members:
            foreign.refuse_archive(container)
        raise _unrecognised(container)


def _names(path: Path) -> tuple[str, ...]:
    """Return the names in a zip archive, and keep nothing else of its directory in memory."""
    infos, _ = read_directory(path)
    return tuple(info.filename for info in infos)


def _unrecognised(container: Container) -> Refusal:
    """Return the refusal of a file that no format recognises."""
    if "data.pkl" in container.inner_members:
        return _refusal(Code.MODEL_PICKLED, _EXPORT_INSTEAD, "a pickle archive")
    if container.members is None:
        head = bytes(container.content[:8]).hex()
        nouns = " nor ".join(spec.noun for spec in FORMATS.values())
        return _refusal(
            Code.MODEL_UNRECOGNISED,
            f"the file is neither {nouns}",
            f"{len(container.content)} bytes that begin with {head}",
        )
    signs = ", ".join(
        f"{spec.noun} has {spec.archive_sign}" for spec in FORMATS.values()
    )
    shown = ", ".join(sorted(container.members)[:3])[:200]
    return _refusal(
        Code.MODEL_UNRECOGNISED,
        f"the zip archive holds no model: {signs}",
        f"a zip archive with {shown or 'no members'}",
    )


def _refusal(code: Code, detail: str, got: str) -> Refusal:
    return Refusal(code, detail, field=FIELD, expected=EXPECTED, got=got)
