"""ONNX models with every site split into two layers that equal it."""

import numpy as np
import onnx

from support.engine.chains import split_exactly
from support.onnx.text import distance, outputs
from worker.engine.formats import open_model

IMAGE = np.random.default_rng(0).standard_normal((1, 8, 12, 12)).astype(np.float32)


def opened_with_count(path, shapes=None):
    opened = open_model("onnx", path)
    return opened, opened.count(opened.bind(shapes))


def split_everywhere(path, target, shapes=None):
    """Replace every site that can be by two layers that equal it, and return their names."""
    opened, count = opened_with_count(path, shapes)
    replaceable = [site for site in count.sites if site.reason is None]
    for site in replaceable:
        opened.replace(site, split_exactly(opened.layer(site)))
    opened.save(target)
    onnx.checker.check_model(str(target), full_check=True)
    return [site.name for site in replaceable]


def agree(before, after, *inputs):
    for feed in inputs:
        pairs = zip(outputs(after, feed), outputs(before, feed), strict=True)
        assert all(distance(actual, expected) < 1e-5 for actual, expected in pairs)
