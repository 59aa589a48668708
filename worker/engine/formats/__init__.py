"""Model formats: one adapter a format, and the functions that pick it.

A new format is a package here with a class that satisfies `worker.engine.model.Model`, and a line
in `open_model` and in `convpress.gate.identify`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from convpress.formats import Format
from worker.engine.model import Model, Runner


def open_model(format: Format, path: Path) -> Model:  # noqa: A002 - the product's word
    """Open the model at `path` for surgery.

    Raises:
        Refusal: `model_invalid` where the file cannot be parsed, `model_unsupported` where its version is not known.
    """
    if format == "onnx":
        from worker.engine.formats.onnx.model import OnnxModel

        return OnnxModel.open(path)
    from worker.engine.formats.torchscript.model import TorchScriptModel

    return TorchScriptModel.open(path)


@contextmanager
def readable(format: Format, path: Path) -> Iterator[Path]:  # noqa: A002 - the product's word
    """Give a file that `open_model` and `load_runner` take for the model at `path`: this one, unless it is compressed.

    Raises:
        Refusal: `model_invalid` where it cannot be unpacked.
    """
    if format == "onnx":
        from worker.engine.formats.onnx.bundle import stored

        with stored(path) as file:
            yield file
    else:
        yield path


def load_runner(format: Format, path: Path) -> Runner:  # noqa: A002 - the product's word
    """Load the model at `path` to be run on one thread; the runner keeps it in memory for as long as it lives.

    Raises:
        Refusal: `model_invalid` where the runtime refuses the file.
    """
    if format == "onnx":
        from worker.engine.formats.onnx.runner import load

        return load(path)
    from worker.engine.formats.torchscript.runner import load as load_torchscript

    return load_torchscript(path)
