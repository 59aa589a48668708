"""The digits that the sample models know: scikit-learn's 8x8 images, which of them are held out,
and who reads them.

Runs a model with its own runtime, nothing of this project, so that accuracies measured here judge
the engine.
"""

from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

MODELS = Path(__file__).parent

Split = tuple[NDArray[np.float32], NDArray[np.int64]]


def preprocess(images: NDArray[np.float64]) -> NDArray[np.float32]:
    """Scale grey values from 0..16 to 0..1, repeat every pixel twice along both axes, and add the
    channel.

    >>> preprocess(np.full((5, 8, 8), 16.0)).shape
    (5, 1, 16, 16)
    """
    return (images / 16).repeat(2, axis=1).repeat(2, axis=2)[:, None].astype(np.float32)


@cache
def split() -> tuple[Split, Split]:
    """Return (images, labels) to train on and held out: every fourth image is held out.

    >>> [labels.shape for _, labels in split()]
    [(1347,), (450,)]
    """
    # the file alone: the package takes a second to import, in every process that runs tests
    package = Path(find_spec("sklearn").origin).parent
    rows = np.loadtxt(package / "datasets" / "data" / "digits.csv.gz", delimiter=",")
    x = preprocess(rows[:, :-1].reshape(-1, 8, 8))
    y = rows[:, -1].astype(np.int64)
    held_out = np.arange(len(y)) % 4 == 0
    return (x[~held_out], y[~held_out]), (x[held_out], y[held_out])


def scores(path: Path, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Run a model file, `.onnx` by ONNX Runtime and any other by torch, on `(n, 1, 16, 16)`;
    returns `(n, 10)`.
    """
    if path.suffix == ".onnx":
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        [result] = session.run(None, {session.get_inputs()[0].name: images})
        return np.asarray(result)
    is_exported = path.suffix == ".pt2"
    module = torch.export.load(path).module() if is_exported else torch.jit.load(path)
    with torch.inference_mode():
        return module(torch.from_numpy(images)).numpy()


def accuracy(path: Path) -> float:
    """Return the share of the held-out digits that a model file names rightly."""
    _, (images, labels) = split()
    return float((scores(path, images).argmax(axis=1) == labels).mean())
