"""Evaluation files of the sample models: digits with their labels."""

from pathlib import Path

import numpy as np
from digits import split

COUNT = 60


def digits_file(folder, model, **arrays):
    """Write an evaluation of a sample model on held-out digits.

    Arrays replace or join its own; None leaves one out.
    """
    _, (images, labels) = split()
    name = "image" if Path(model).suffix == ".onnx" else "input"
    members = {name: images[:COUNT], "labels": labels[:COUNT]} | arrays
    path = folder / "evaluation.npz"
    np.savez(
        path, **{name: array for name, array in members.items() if array is not None}
    )
    return path
