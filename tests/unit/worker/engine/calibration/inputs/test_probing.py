"""The range of a model's inputs: which ranges are tried, on how many images, and which one fits."""

from dataclasses import replace

import pytest
import torch
from digits import MODELS
from support.engine.calibrations import (
    RNG,
    SMALL,
    A,
    judging_batches,
    of,
    pooled,
)
from support.engine.programs import chained, norm

from convpress.calibration import InputValues
from convpress.refusal import Refusal
from worker.engine.calibration.effort import Effort
from worker.engine.calibration.harness import WeakCalibrationError
from worker.engine.calibration.inputs import probing
from worker.engine.calibration.inputs.dead_leaves import dead_leaves
from worker.engine.calibration.inputs.generators import softened
from worker.engine.calibration.inputs.ranges import known_ranges
from worker.engine.calibration.run_size import build_harness
from worker.engine.calibration.statistics.covariance import MomentRecorder
from worker.engine.formats import open_model
from worker.engine.model import TensorSpec


def test_a_costly_model_is_probed_and_judged_on_few_images_and_measured_once(
    monkeypatch,
):
    """Twelve images are affordable at 27.7 G MACs; each of five ranges is tried on the fewest."""
    probed = []
    images = probing._images
    measured = []
    add = MomentRecorder.add

    def counted_images(harness, generator, values, count):
        probed.append(count)
        return images(harness, generator, values, count)

    def counted_batches(recorder, program, batches):
        measured.append(len(batches))
        add(recorder, program, batches)

    monkeypatch.setattr(probing, "_images", counted_images)
    monkeypatch.setattr(MomentRecorder, "add", counted_batches)
    effort = replace(SMALL, batch_images=1)
    calibration = of(("a", A), torch.relu, pooled, macs=27_700_000_000, effort=effort)
    assert probed == [4] * 5
    assert measured == [12]
    assert len(calibration.held_out) == 8
    # two in each of the five ranges that may be the right one
    assert len(judging_batches(calibration)) == 10


@pytest.mark.parametrize(
    ("parts", "runs"),
    [
        # a classifier's scores are compared over all sixteen images, in each of five ranges
        ([torch.relu, pooled], 5 * 16),
        # what is no classifier is only asked whether its outputs are finite and differ
        ([torch.relu], 5 * 4),
        # and so it is where statistics tell the range, which few images do for most ranges
        ([norm(RNG(2), 4), torch.relu, pooled], 2 * 5 * 4 + 16),
    ],
    ids=["classes", "neither", "statistics"],
)
def test_ranges_are_tried_on_no_more_images_than_tell_them_apart(
    monkeypatch, parts, runs
):
    images = []
    watched = probing.run

    def counted(program, batch, **keywords):
        images.append(len(batch["v0"]))
        return watched(program, batch, **keywords)

    def mismatch(program, batch):
        counted(program, batch)
        # the range from 0 to 1 is far nearer than the others
        is_near = batch["v0"].min() > -0.5 and batch["v0"].max() < 1.5
        return torch.tensor(1.0 if is_near else 1e6)

    monkeypatch.setattr(probing, "run", counted)
    monkeypatch.setattr(probing, "statistics_mismatch", mismatch)
    program = chained(("a", A), *parts)
    spec = TensorSpec("v0", "float32", ("batch", 3, 16, 16))
    harness = build_harness(
        program, [spec], {"v0": (1, 3, 16, 16)}, Effort(batch_images=1)
    )
    shares = []
    trials = probing.Trials(dead_leaves, known_ranges(3), 16)
    probing.probed_ranges(harness, None, trials, tell=shares.append)
    assert sum(images) == runs
    assert shares == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])


def test_a_stated_range_is_used():
    calibration = of(
        ("a", A), torch.relu, stated=InputValues((-300.0, -100.0), None, None)
    )
    report = calibration.report_members
    assert report["ranges"] == ["-300 to -100"]
    assert report["ranges_from"] == "the request"
    values = torch.cat([batch["v0"] for batch in calibration.batches])
    assert -360 < values.min() < -270
    assert -130 < values.max() < -40


@pytest.mark.parametrize("name", ["plain.onnx", "batchnorm_bn.onnx"])
@pytest.mark.parametrize(("limits", "is_right"), [((0, 1), True), ((0, 255), False)])
def test_a_stated_range_is_doubted_where_others_fit_the_model_far_better(
    name, limits, is_right
):
    model = open_model("onnx", MODELS / name)
    shapes = model.bind(None)
    harness = build_harness(model.program(), model.inputs, shapes, SMALL)
    trials = probing.Trials(softened(dead_leaves), known_ranges(1), 16)
    probed = probing.probed_ranges(harness, InputValues(limits, None, None), trials)
    own = f"{limits[0]} to {limits[1]}"
    assert [values.name for values in probed.ranges] == [own]
    plausible = [values.name for values in probed.plausible]
    assert (plausible == [own]) == is_right
    assert (probed.doubt is None) == is_right
    if not is_right:
        assert plausible[:2] == [own, "0 to 1"]
        assert "fits values of 0 to 1" in probed.doubt


def scaled(x):
    """Return scores by which images are told apart."""
    return 30 * x


@pytest.mark.parametrize(
    ("last", "is_sure"),
    [
        (scaled, False),
        (lambda x: torch.softmax(scaled(x), 1), True),
        (lambda x: torch.cat([scaled(x)] * 3, 1), True),
    ],
    ids=["four numbers", "four probabilities", "twelve numbers"],
)
@pytest.mark.parametrize("stated", [None, InputValues((0.0, 0.001), None, None)])
def test_few_numbers_without_a_softmax_may_be_no_class_scores(last, is_sure, stated):
    """As the place of a thing, which images of far too large values tell apart best."""
    program = chained(("a", A), torch.relu, pooled, last)
    spec = TensorSpec("v0", "float32", ("batch", 3, 16, 16))
    harness = build_harness(program, [spec], {"v0": (1, 3, 16, 16)}, SMALL)
    trials = probing.Trials(dead_leaves, known_ranges(3), 16)
    doubt = probing.probed_ranges(harness, stated, trials).doubt
    if stated is None:
        assert doubt == (None if is_sure else probing._UNSURE)
    else:
        assert "far better than the stated ones" in doubt
        assert ("if its outputs are class scores" in doubt) != is_sure


def test_a_stated_mean_that_does_not_fit_the_channels_is_refused():
    with pytest.raises(Refusal, match="of which there are 3"):
        of(("a", A), stated=InputValues(None, (0.1, 0.2), None))


def test_raw_bytes_are_images():
    calibration = of(lambda x: x.float() / 255, ("a", A), dtype="uint8")
    report = calibration.report_members
    assert report["ranges_from"] == "the integer type of the inputs"
    assert calibration.batches[0]["v0"].dtype == torch.uint8


def singular(x):
    return torch.linalg.inv(x * 0)


NOT_FINITE = "gives NaN or infinity"


SAME = "gives the same outputs whatever the inputs"


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ([("a", A), lambda x: x * torch.nan], NOT_FINITE),
        ([("a", A), lambda x: x / 0], NOT_FINITE),
        ([("a", A), lambda x: torch.ones(2, 5)], SAME),
        ([("a", A), norm(RNG(2), 4), lambda x: x * 0 + 1, pooled], SAME),
        (
            [("a", A), singular],
            "does not run on synthetic inputs: singular says: .*inver",
        ),
        (
            [("a", A), lambda x: x.no_such()],
            "does not run on synthetic inputs: .*no_such",
        ),
        (
            [("a", A), lambda x: torch.zeros(2)[7]],
            "does not run on synthetic inputs: .*out of bounds",
        ),
    ],
)
@pytest.mark.parametrize(
    "stated", [None, InputValues((0.0, 1.0), None, None)], ids=["guessed", "stated"]
)
def test_models_that_teach_nothing_say_why(parts, reason, stated):
    with pytest.raises(WeakCalibrationError, match=reason):
        of(*parts, stated=stated)


@pytest.mark.parametrize(
    ("first", "stated", "ranges", "least"),
    [
        (torch.sqrt, None, {"0 to 1", "0 to 255"}, 0),
        (torch.sqrt, InputValues((0.0, 9.0), None, None), {"0 to 9"}, 0),
        (torch.asin, None, {"0 to 1", "-1 to 1"}, -1),
        (torch.asin, InputValues(None, (0.5,), (0.5,)), {"mean and deviation"}, -1),
    ],
)
def test_images_keep_strictly_to_a_range_beyond_which_outputs_are_not_finite(
    first, stated, ranges, least
):
    calibration = of(first, ("a", A), torch.relu, pooled, stated=stated)
    assert set(calibration.report_members["ranges"]) <= ranges
    for batch in (
        *calibration.batches,
        *calibration.held_out,
        *judging_batches(calibration),
    ):
        assert first(batch["v0"]).isfinite().all()
    assert min(batch["v0"].min() for batch in calibration.batches) >= least
