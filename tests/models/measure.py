"""The sample models as a zoo of `benchmarks/risk.py`, scored on real digits.

python benchmarks/risk.py --zoo tests/models --output docs
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from digits import split
from numpy.typing import NDArray

MODELS = Path(__file__).parent
SHAPE = (1, 1, 16, 16)
# Every sixth training image: as many as a user might send.
STEP = 6

NETWORKS: dict[str, dict[str, Any]] = {
    path.stem: {"shape": SHAPE, "metric": "top-1 %", "scale": "grey"}
    for path in sorted(MODELS.glob("*.onnx"))
}

Run = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def inputs(
    _network: str, part: str = "test"
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return images `(n, 1, 16, 16)` and labels `(n,)`."""
    training, held_out = split()
    return held_out if part == "test" else training


def calibration(network: str) -> NDArray[np.float32]:
    """Return images to send as samples: none that is scored."""
    return inputs(network, "training")[0][::STEP]


def score(network: str, run: Run, batch: int = 50) -> float:
    """Return the share of images that `run` names right, in per cent."""
    images, labels = inputs(network)
    starts = range(0, len(images), batch)
    scores = np.concatenate([run(images[start : start + batch]) for start in starts])
    return 100 * float(np.mean(scores.argmax(axis=1) == labels))
