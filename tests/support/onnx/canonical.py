"""ONNX models opened in their canonical form, every site replaced, and run as the originals are."""

import numpy as np
import onnx

from support.engine.chains import split_exactly
from support.onnx.text import distance, outputs, written
from worker.engine.formats import load_runner, open_model

TOLERANCE = 1e-5


def rewritten(tmp_path, proto):
    """Replace every site that can be exactly; return the sites and the artifact, which is checked.

    Its outputs must be those of the original, run as the service runs it.
    """
    before = written(tmp_path, proto)
    opened = open_model("onnx", before)
    sites = opened.count(opened.bind(None)).sites
    for site in sites:
        if site.reason is None:
            opened.replace(site, split_exactly(opened.layer(site)))
    after = tmp_path / "after.onnx"
    opened.save(after)
    rng = np.random.default_rng(1)
    bound = opened.bind(None)
    inputs = {
        spec.name: rng.standard_normal(bound[spec.name]).astype(spec.dtype)
        for spec in opened.inputs
    }
    expected = load_runner("onnx", before)(inputs).values()
    for output, original in zip(outputs(after, inputs), expected, strict=True):
        assert distance(output, original) <= TOLERANCE
    return sites, onnx.load(after)
