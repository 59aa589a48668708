"""Write the digits that the demonstration needs beside the sample models.

    python tests/models/hold_out.py

`digits_test.npz` has `images` (450, 1, 16, 16) and `labels` (450,): those that `train.py` holds
out. `digits_samples.npz` has 64 images of its training set as `image`, the input of the models.
"""

from pathlib import Path

import numpy as np
from digits import MODELS, split

SAMPLES = 64


def write(folder: Path) -> None:
    """Write both files, the same bytes at each run."""
    (trained, _), (images, labels) = split()
    np.savez_compressed(
        folder / "digits_test.npz", images=images, labels=labels.astype(np.uint8)
    )
    np.savez_compressed(folder / "digits_samples.npz", image=trained[:SAMPLES])


if __name__ == "__main__":
    write(MODELS)
