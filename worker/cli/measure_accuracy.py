"""The accuracy of ONNX classifiers on labelled images, in a process of its own.

    python -m worker.cli.measure_accuracy test.npz MODEL ...

`test.npz` has `images` (count, ...), as the models take them, and `labels` (count,). Prints a JSON
object: `count`, and `correct`, the number of images that each model names rightly. The models run
outside the sandbox: this is for models of one's own.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime


def count_correct(model: Path, images: np.ndarray, labels: np.ndarray) -> int:
    """Return the number of images whose label is the largest score (axis 1) of a model."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model, options, providers=["CPUExecutionProvider"]
    )
    [scores, *_] = session.run(None, {session.get_inputs()[0].name: images})
    return int((np.asarray(scores).argmax(axis=1) == labels).sum())


def main(test: str, *models: str) -> None:
    """Print the counts of several models."""
    with np.load(test, allow_pickle=False) as arrays:
        images, labels = arrays["images"], arrays["labels"]
    correct = [count_correct(Path(model), images, labels) for model in models]
    sys.stdout.write(json.dumps({"count": len(labels), "correct": correct}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
