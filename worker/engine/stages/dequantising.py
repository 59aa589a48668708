"""Dequantise: give the engine the floats of a model that was posted in integers."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from worker.engine.formats import adapter_of
from worker.engine.model import Restored
from worker.engine.request import Request


@dataclass(frozen=True)
class FloatFile:
    """A file to open in the place of the posted one, and what was restored in it.

    Without `restored` it is the posted file itself.
    """

    path: Path
    restored: Restored | None = None


@contextmanager
def in_float(request: Request, source: Path) -> Iterator[FloatFile]:
    """Give the model at `source` in floats, as long as the context is open.

    Raises:
        Refusal: `model_invalid` where the file cannot be parsed.
    """
    write = adapter_of(request.format).write_in_float
    if write is None:
        yield FloatFile(source)
        return
    target = Path(request.report).with_name(f"floats{source.suffix}")
    restored = write(source, target)
    try:
        yield FloatFile(source if restored is None else target, restored)
    finally:
        target.unlink(missing_ok=True)
