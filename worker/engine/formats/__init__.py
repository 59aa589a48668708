"""Model formats: a package and an adapter each, imported when a model of that format is opened.

A new format is a package here whose module `adapter` has an `ADAPTER`, a line in `ADAPTERS`, and
the entries that `convpress.formats` names.
"""

from contextlib import AbstractContextManager
from importlib import import_module
from pathlib import Path

from convpress.formats import Format
from worker.engine.formats.adapter import FormatAdapter
from worker.engine.model import Model, Runner

# Modules by name, not imported here: torch takes more than a second to import, and ONNX models need
# it for calibration alone.
ADAPTERS: dict[Format, str] = {
    "onnx": "worker.engine.formats.onnx.adapter",
    "torchscript": "worker.engine.formats.torchscript.adapter",
    "pt2": "worker.engine.formats.pt2.adapter",
}


def adapter_of(model_format: Format) -> FormatAdapter:
    """Return the adapter of a format, with its libraries imported."""
    adapter: FormatAdapter = import_module(ADAPTERS[model_format]).ADAPTER
    return adapter


def open_model(model_format: Format, path: Path) -> Model:
    """Open the model at `path` for surgery.

    Raises:
        Refusal: `model_invalid` where the file cannot be parsed, `model_unsupported` where its
            version is not known.
    """
    return adapter_of(model_format).open(path)


def readable(model_format: Format, path: Path) -> AbstractContextManager[Path]:
    """Give a file that `open_model` and `load_runner` take: `path` itself, unless it is compressed.

    Raises:
        Refusal: `model_invalid` where it cannot be unpacked.
    """
    return adapter_of(model_format).readable(path)


def load_runner(model_format: Format, path: Path) -> Runner:
    """Load the model at `path` to be run on one thread; the runner keeps it in memory.

    Raises:
        Refusal: `model_invalid` where the runtime refuses the file.
    """
    return adapter_of(model_format).load_runner(path)
