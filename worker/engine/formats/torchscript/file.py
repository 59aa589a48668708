"""The TorchScript archive: load it from its file, refuse it with the reason, and write it again."""

import gc
import re
import struct
import zipfile
from pathlib import Path

import torch
from torch.jit._script import RecursiveScriptModule

from convpress.refusal import Code, Refusal
from worker.engine.formats.aten.errors import TORCH_ERRORS, message_of, require_memory
from worker.engine.formats.torchscript import detection

# torch has no exception classes for these: its messages alone tell them apart.
_TRUNCATED = (
    "failed finding central directory",
    "file read failed",
    "not a ZIP archive",
)
_UNSUPPORTED = (
    "maximum supported version",
    "minimum supported version",
    "Unknown builtin op",
    "Unknown custom",
)
# What torch says of its own archives of optimize_for_inference: their constants have no content.
_WITHOUT_CONSTANTS = "required keyword attribute 'value' is undefined"
_FOREIGN = r"Unknown builtin op: (\w+::\w+)"


def load(
    path: Path, device: str = "cpu", extra_files: dict[str, bytes] | None = None
) -> RecursiveScriptModule:
    """Load the module at `path`, and the archive's extra files into `extra_files`.

    On the `meta` device the module's tensors have shapes but no data.

    Raises:
        Refusal: `model_truncated`, `model_unsupported` (archive version, operators of other
            libraries) or `model_invalid`.
    """
    detection.register()
    contents = dict.fromkeys(_extra_names(path), b"")
    try:
        module = torch.jit.load(path, map_location=device, _extra_files=contents)  # type: ignore[no-untyped-call]  # untyped in torch
    except (*TORCH_ERRORS, OSError, EOFError) as error:
        raise _refusal(error) from error
    if not isinstance(module, RecursiveScriptModule):
        raise Refusal(
            Code.MODEL_INVALID,
            "the archive does not hold a module",
            field="model",
            got=type(module).__name__,
        )
    if extra_files is not None:
        extra_files.update(contents)
    return module


def save(
    module: RecursiveScriptModule, path: Path, extra_files: dict[str, bytes]
) -> None:
    """Write the module and the archive's extra files; the same module gives the same bytes."""
    # How torch writes an object depends on whether anything else holds it: garbage must not.
    gc.collect()
    torch.jit.save(module, path, _extra_files=extra_files)


def members(path: Path) -> list[zipfile.ZipInfo]:
    """Return the archive's directory.

    Raises:
        Refusal: `model_truncated`.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.infolist()
    except (
        zipfile.BadZipFile,
        ValueError,
        NotImplementedError,
        EOFError,
        OSError,
        struct.error,
    ) as error:
        raise _refusal(error) from error


def _extra_names(path: Path) -> list[str]:
    """Return the names of the extra files: the members below `<archive>/extra/`."""
    names = [member.filename.partition("/")[2] for member in members(path)]
    return [name.removeprefix("extra/") for name in names if name.startswith("extra/")]


def _refusal(error: BaseException) -> Refusal:
    require_memory(error)
    text = str(error)
    detail = message_of(error)
    is_cut_short = isinstance(error, zipfile.BadZipFile | EOFError | struct.error)
    if is_cut_short or any(sign in text for sign in _TRUNCATED):
        return Refusal(
            Code.MODEL_TRUNCATED,
            f"the TorchScript archive is cut short or damaged: {detail}",
            field="model",
        )
    if _WITHOUT_CONSTANTS in text:
        return Refusal(
            Code.MODEL_UNSUPPORTED,
            "torch cannot load its own archives of optimize_for_inference",
            field="model",
            expected="the model from before optimize_for_inference",
        )
    if any(sign in text for sign in _UNSUPPORTED):
        expected = f"an archive that plain torch {torch.__version__.partition('+')[0]} can load"
        foreign = re.search(_FOREIGN, text)
        if foreign is not None:
            detail = (
                f"it calls {foreign[1]}, an operator of another library than torch; export it to "
                "ONNX (torch.onnx.export), which has operators of its own for detectors"
            )
        return Refusal(
            Code.MODEL_UNSUPPORTED,
            f"torch cannot load it: {detail}",
            field="model",
            expected=expected,
        )
    return Refusal(
        Code.MODEL_INVALID,
        f"torch cannot load the TorchScript archive: {detail}",
        field="model",
    )
