"""The overhead of factored sites, against the size of the file that is written."""

from math import ceil

import pytest
from support.onnx.text import written

from convpress.budgets import BYTES, FLOPS
from worker.engine.decompose.forms.spatial import spatial
from worker.engine.formats import open_model
from worker.engine.model import OpenedModel
from worker.engine.selection.bound_budget import BoundBudget
from worker.engine.selection.candidates import Candidate
from worker.engine.selection.file_overhead import measure_file_overhead

NET = """g (float[1, 4, 8, 8] x) => (float[1, 4, 8, 8] y)
<float[8, 4, 3, 3] w, float[4, 8, 3, 3] v> {
    a = Conv <pads = [1, 1, 1, 1]> (x, w)  y = Conv <pads = [1, 1, 1, 1]> (a, v) }"""


@pytest.fixture
def opened(tmp_path):
    path = written(tmp_path, NET)
    model = open_model("onnx", path)
    return OpenedModel("onnx", path, model, {"x": (1, 4, 8, 8)})


def factored(site):
    return Candidate(0, 0, 0.1, spatial(site.convolution)[0], 2)


def original(site):
    return Candidate(site.macs, 288, 0.0)


def measured(opened, choice, allowed, kind=BYTES):
    """Return the overhead of a budget, and the sizes of the files that were written."""
    sizes = []
    scratch = opened.path.with_name("scratch")
    budget = BoundBudget(kind.parse("50%"), 4000, allowed, 4000, overhead=3)
    (raised,) = measure_file_overhead(
        opened,
        scratch,
        lambda site, layers: [layers],
        choice,
        [budget],
        lambda path: sizes.append(path.stat().st_size),
    )
    assert not scratch.exists()
    return raised.overhead, sizes


def test_the_excess_is_divided_among_the_factored_sites(opened):
    choice = [factored(site) for site in opened.profile.sites]
    overhead, (size,) = measured(opened, choice, 100)
    assert size > 4 * sum(2 * (4 * 3 + 8 * 3) for _ in choice)
    assert overhead == 3 + ceil((size - 100) / 2)


def test_a_choice_that_fits_raises_nothing(opened):
    first, second = opened.profile.sites
    overhead, sizes = measured(opened, [factored(first), original(second)], 10**6)
    assert (overhead, len(sizes)) == (3, 1)


def test_a_budget_that_no_file_shows_stays(opened):
    choice = [factored(site) for site in opened.profile.sites]
    assert measured(opened, choice, 100, FLOPS)[0] == 3


def test_a_model_that_stays_is_not_written(opened):
    choice = [original(site) for site in opened.profile.sites]
    assert measured(opened, choice, 100) == (3, [])
