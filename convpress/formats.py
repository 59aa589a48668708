"""The model formats that convpress reads and writes: one record each, of plain data.

To add a format, name it in `Format`, describe it in `FORMATS`, and register what works on its
files: how to recognise and check one in `convpress.gate.registry`, how to open, run and rewrite
one in `worker.engine.formats`.
"""

from dataclasses import dataclass
from typing import Literal

Format = Literal["onnx", "torchscript", "pt2"]

FIELD = "model"
"""The form field that carries a model: refusals of a file name it."""


@dataclass(frozen=True)
class FormatSpec:
    """What people and files call a format, and which packages compute with it.

    Attributes:
        name: Value of `format` in the API, in reports and in the database.
        label: Name as people write it.
        noun: One model of this format, with its article.
        container: The files that a model may come in, as a note behind the noun.
        archive_sign: What tells a zip archive of this format from others.
        exporter: The call that exports a PyTorch module to this format.
        suffix: Suffix of the files that convpress writes.
        upload_suffixes: Usual suffixes of a user's files, lower case; the gate reads contents
            instead.
        bundle_suffixes: Suffixes of archives of a model and its weights; downloads keep them.
        stores_shapes: Whether a file states the sizes of its inputs.
        packages: Distributions that read and run models; reports state their versions.
        runtime: The one of them that runs models, whose layers cost tables time.
        timed_as: The format whose cost table holds: those that one runtime runs share it.
    """

    name: Format
    label: str
    noun: str
    container: str
    archive_sign: str
    exporter: str
    suffix: str
    upload_suffixes: tuple[str, ...]
    bundle_suffixes: tuple[str, ...]
    stores_shapes: bool
    packages: tuple[str, ...]
    runtime: str
    timed_as: Format

    def download_suffix(self, uploaded: str) -> str:
        """Return the suffix of a compressed model, given that of the uploaded file.

        >>> FORMATS["onnx"].download_suffix(".zip"), FORMATS["onnx"].download_suffix(".pb")
        ('.zip', '.onnx')
        """
        return uploaded if uploaded in self.bundle_suffixes else self.suffix


FORMATS: dict[Format, FormatSpec] = {
    "onnx": FormatSpec(
        name="onnx",
        label="ONNX",
        noun="an ONNX model",
        container=".onnx, or a zip or tar archive of it and the files with its weights",
        archive_sign="a file that ends in .onnx",
        exporter="torch.onnx.export",
        suffix=".onnx",
        upload_suffixes=(".onnx",),
        bundle_suffixes=(".zip", ".tar"),
        stores_shapes=True,
        packages=("onnx", "onnxruntime"),
        runtime="onnxruntime",
        timed_as="onnx",
    ),
    "torchscript": FormatSpec(
        name="torchscript",
        label="TorchScript",
        noun="a TorchScript archive",
        container="torch.jit.save",
        archive_sign="code/, data.pkl and constants.pkl",
        exporter="torch.jit.trace(model, example).save(...)",
        suffix=".pt",
        upload_suffixes=(".pt", ".pth", ".ts", ".torchscript"),
        bundle_suffixes=(),
        stores_shapes=False,
        packages=("torch",),
        runtime="torch",
        timed_as="torchscript",
    ),
    "pt2": FormatSpec(
        name="pt2",
        label="torch.export",
        noun="a torch.export archive",
        container="torch.export.save",
        archive_sign="archive_format and models/model.json",
        exporter='torch.export.save(torch.export.export(model, (example,)), "model.pt2")',
        suffix=".pt2",
        upload_suffixes=(".pt2",),
        bundle_suffixes=(),
        stores_shapes=True,
        packages=("torch",),
        runtime="torch",
        timed_as="torchscript",
    ),
}

EXPECTED = " or ".join(f"{spec.noun} ({spec.container})" for spec in FORMATS.values())
"""What a model may be, for refusals and the API's description."""

_labels = [spec.label for spec in FORMATS.values()]
LABELS = f"{', '.join(_labels[:-1])} or {_labels[-1]}"
_nouns = [spec.noun for spec in FORMATS.values()]
NOUNS = f"{', '.join(_nouns[:-1])} or {_nouns[-1]}"
EXPORTERS = " or ".join(spec.exporter for spec in FORMATS.values())


def shape_help() -> str:
    """Return a sentence on the formats whose files state the sizes of their inputs, and others.

    >>> shape_help()
    'ONNX and torch.export mostly store it, TorchScript does not.'
    """
    storing = [spec.label for spec in FORMATS.values() if spec.stores_shapes]
    others = [spec.label for spec in FORMATS.values() if not spec.stores_shapes]
    return f"{' and '.join(storing)} mostly store it, {' and '.join(others)} does not."


def shapeless_suffixes() -> tuple[str, ...]:
    """Return the suffixes of files whose input shapes a user has to give."""
    suffixes: list[str] = []
    for spec in FORMATS.values():
        if not spec.stores_shapes:
            suffixes += spec.upload_suffixes
    return tuple(suffixes)


def named(name: str) -> Format:
    """Return a format by its name.

    Raises:
        ValueError: no format has this name.

    >>> named("onnx")
    'onnx'
    """
    for known in FORMATS:
        if known == name:
            return known
    raise ValueError(f"unknown format {name!r}, expected one of {', '.join(FORMATS)}")
