"""Whole calibrations: their account, and models that teach nothing or little."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from digits import MODELS
from support.engine.programs import chained, layer, norm

from convpress.calibration import InputValues
from convpress.refusal import Refusal
from worker.engine.calibration.allowance import Allowance
from worker.engine.calibration.calibrate import calibrate
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
from worker.engine.program import NoProgramError

RNG = np.random.default_rng
A = layer(RNG(1), (4, 3, 3, 3), padding=1)


SMALL = Effort(most_images=64, held_out_images=32)
"""Few images: what holds for them holds for many."""


def of(
    *parts, shape=(1, 3, 16, 16), dtype="float32", stated=None, macs=1000, effort=SMALL
):
    return telling(
        *parts, shape=shape, dtype=dtype, stated=stated, macs=macs, effort=effort
    )[0]


def telling(
    *parts, shape=(1, 3, 16, 16), dtype="float32", stated=None, macs=1000, effort=SMALL
):
    """Return the calibration of a program of these parts, and the shares that it reported."""
    program = chained(*parts)
    geometries = {
        part[0]: part[1].convolution for part in parts if isinstance(part, tuple)
    }
    model = SimpleNamespace(
        program=lambda: program, inputs=[TensorSpec("v0", dtype, None)]
    )
    shares = []
    calibration = calibrate(
        model, {"v0": shape}, geometries, macs, stated, None, shares.append, effort
    )
    return calibration, shares


def pooled(x):
    return x.mean((2, 3))


def judging_batches(calibration):
    """Return the batches that the artifact is judged by, over all groups."""
    return [batch for group in calibration.judging.groups.values() for batch in group]


def test_with_normalisation_images_are_distilled_in_the_range_that_its_statistics_tell():
    stored = norm(RNG(2), 4)
    images = 255 * (0.47 + 0.25 * RNG(0).standard_normal((64, 3, 16, 16)))
    behind = torch.nn.functional.conv2d(
        torch.from_numpy(images).float(), *map(torch.from_numpy, (A.weight, A.bias))
    )
    variance, mean = torch.var_mean(behind, (0, 2, 3))
    stored.mean.copy_(mean)
    stored.variance.copy_(variance)
    calibration = of(("a", A), stored, torch.relu, pooled)
    report = calibration.report_members
    assert report["ranges"] == ["0 to 255"]
    assert report["kind"] == "distilled"
    assert report["images"] == 64
    assert report["steps"] == 40
    assert calibration.batches[0]["v0"].shape == (32, 3, 16, 16)
    assert calibration.batches[0]["v0"].max() > 100
    assert calibration.moments.by_site["a"].mean.shape == (1, 27)


def test_a_layer_that_sees_one_row_an_image_leaves_no_direction_out():
    """The covariance of 48 numbers is singular for 16 images: 32 directions would cost nothing."""
    wide = layer(RNG(5), (48, 3, 3, 3), padding=1)
    last = layer(RNG(6), (24, 48))
    few = replace(SMALL, most_images=16)
    calibration = of(("wide", wide), torch.relu, pooled, ("last", last), effort=few)
    covariance = calibration.moments.by_site["last"].covariance[0]
    assert np.linalg.eigvalsh(covariance)[0] > 0.01 * covariance.trace() / 48


def test_distilling_tells_how_far_it_is():
    _, shares = telling(("a", A), norm(RNG(2), 4), torch.relu, pooled)
    # one batch to choose the refit by, three to judge by (as many ranges are plausible), two to
    # fit on, of twice as many steps
    assert shares == pytest.approx([0.7 * steps / 8 for steps in (1, 2, 3, 4, 6, 8)])


def test_where_distilling_would_take_too_long_the_twin_serves():
    calibration = of(("a", A), norm(RNG(2), 4), torch.relu, pooled, macs=10**10)
    report = calibration.report_members
    assert (report["kind"], report["twin"]) == ("synthetic", True)
    assert len(calibration.moments.batchnorm) == 1


def test_where_there_are_no_gradients_the_twin_serves_and_the_report_says_why():
    calibration = of(
        ("a", A),
        lambda x: torch.from_numpy(x.numpy()),
        norm(RNG(2), 4),
        torch.relu,
        pooled,
    )
    report = calibration.report_members
    assert (report["kind"], report["twin"]) == ("synthetic", True)
    assert report["notes"][0].startswith("not distilled: the model has no gradients: ")


def test_without_normalisation_a_classifiers_images_are_distilled_by_its_classes():
    calibration = of(("a", A), torch.relu, pooled)
    report = calibration.report_members
    assert report["kind"] == "distilled"
    assert report["images"] == 64
    assert report["steps"] == 5
    assert report["ranges_from"] == "the model's class scores on synthetic images"


def test_without_normalisation_and_classes_images_serve_as_they_are():
    calibration = of(("a", A), torch.relu)
    assert (calibration.report_members["kind"], calibration.report_members["twin"]) == (
        "synthetic",
        False,
    )
    assert (
        calibration.report_members["ranges_from"]
        == "usual ranges, since the model's outputs favour none"
    )
    assert not calibration.moments.batchnorm
    compared = judging_batches(calibration)
    judging = [batch["v0"] for batch in (*calibration.held_out, *compared)]
    assert len(judging) >= 2
    assert all(
        not torch.equal(one, batch["v0"])
        for one in judging
        for batch in calibration.batches
    )
    assert not torch.equal(calibration.held_out[0]["v0"], compared[0]["v0"])


def test_no_more_samples_are_made_than_memory_holds():
    effort = replace(SMALL, image_bytes=32 * 3 * 16 * 16 * 4)
    calibration = of(("a", A), norm(RNG(2), 4), torch.relu, pooled, effort=effort)
    report = calibration.report_members
    assert report["images"] == 32


def test_plain_images_join_few_that_were_distilled_by_classes_alone():
    # 128 images by 5 steps of three runs each
    effort = replace(SMALL, most_images=256, image_macs=15 * 128 * 1000)
    calibration = of(("a", A), torch.relu, pooled, effort=effort)
    report = calibration.report_members
    assert report["kind"] == "distilled"
    assert report["distilled"] == 128
    assert report["images"] == 192
    images = torch.cat([batch["v0"] for batch in calibration.batches])
    assert len(images.unique(dim=0)) == 192
    # Plain images would not have the stored statistics.
    calibration = of(("a", A), norm(RNG(2), 4), torch.relu, pooled, effort=effort)
    report = calibration.report_members
    assert report["distilled"] == report["images"] < 192


@pytest.mark.slow
def test_images_of_a_large_model_without_a_head_are_made_small_enough_to_distil():
    stored = norm(RNG(2), 4)
    shape = (1, 3, 256, 256)
    # at 64 a side 17 steps are affordable, at 32 all of them
    macs = 25_000_000_000
    calibration = of(("a", A), stored, torch.relu, shape=shape, macs=macs)
    assert calibration.report_members["kind"] == "distilled"
    assert calibration.batches[0]["v0"].shape[2:] == (32, 32)
    # no step is affordable at either size
    calibration = of(("a", A), stored, torch.relu, shape=shape, macs=10 * macs)
    assert calibration.report_members["kind"] == "synthetic"
    assert calibration.batches[0]["v0"].shape[2:] == (64, 64)


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
    probing.probed_ranges(
        harness, None, probing.Trials(dead_leaves, known_ranges(3), 16)
    )
    assert sum(images) == runs


def test_a_larger_model_gets_more_images_and_steps_of_little_work_no_more_than_it_needs():
    harness = SimpleNamespace(shapes={"v0": (1, 3, 16, 16)}, image_names=["v0"])
    for macs, images in ((10**3, 192), (3 * 10**7, 300), (10**8, 384)):
        assert Allowance(harness, macs, Effort()).measured_images == images
    assert Allowance(harness, 10**3, Effort(most_images=64)).measured_images == 64


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


def test_a_stated_mean_that_does_not_fit_the_channels_is_refused():
    with pytest.raises(Refusal, match="3 channels"):
        of(("a", A), stated=InputValues(None, (0.1, 0.2), None))


def test_raw_bytes_are_images():
    calibration = of(lambda x: x.float() / 255, ("a", A), dtype="uint8")
    report = calibration.report_members
    assert report["ranges_from"] == "the integer type of the inputs"
    assert calibration.batches[0]["v0"].dtype == torch.uint8


@pytest.mark.parametrize(
    ("shape", "channels"),
    [((1, 3), 3), ((1, 3, 20), 3), ((1, 3, 1, 9), 3), ((1, 2, 5, 6, 7), 2)],
    ids=str,
)
def test_vectors_signals_and_volumes_are_served_alike(shape, channels):
    site = layer(RNG(1), (4, channels, *(1,) * (len(shape) - 2)))
    calibration = of(("a", site), norm(RNG(2), 4), torch.relu, shape=shape)
    moments = calibration.moments.by_site["a"]
    report = calibration.report_members
    assert report["kind"] == "distilled"
    assert np.isfinite(moments.covariance).all()
    assert (np.diag(moments.covariance[0]) > 0).all()


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


def test_indices_teach_nothing():
    with pytest.raises(
        WeakCalibrationError,
        match="no input of the model is a batch of images, signals or",
    ):
        of(lambda x: x.float(), dtype="int64", shape=(1, 7))


def test_a_model_that_cannot_be_taken_apart_says_why():
    def fail():
        raise NoProgramError("it has a loop")

    model = SimpleNamespace(program=fail, inputs=[])
    with pytest.raises(
        WeakCalibrationError, match="the model cannot be taken apart: it has a loop"
    ):
        calibrate(model, {}, {}, 1, None, None, lambda _: None)


def test_sites_without_finite_inputs_are_named():
    calibration = of(
        ("a", A), torch.log, ("b", layer(RNG(1), (2, 4, 1, 1))), torch.nan_to_num
    )
    assert set(calibration.moments.by_site) == {"a"}
    report = calibration.report_members
    assert report["notes"] == [
        "by their weights alone, since no finite inputs reach them: b"
    ]


def test_inputs_to_judge_by_are_of_the_models_own_shapes_whatever_was_calibrated_on():
    shape = (2, 3, 128, 128)
    calibration = of(("a", A), shape=shape, stated=InputValues((0.0, 1.0), None, None))
    assert calibration.batches[0]["v0"].shape[2:] == (64, 64)
    specs = [TensorSpec("v0", "float16", None)]
    [inputs] = calibration.judging.run_inputs(specs, {"v0": shape}, 5).groups.values()
    images = [each["v0"] for each in inputs]
    assert [(each.shape, each.dtype) for each in images] == [(shape, np.float16)] * 5
    np.testing.assert_array_equal(images[0][..., :64, :64], images[0][..., 64:, 64:])
    assert not np.array_equal(inputs[0]["v0"], inputs[1]["v0"])


def detector(bias):
    """Parts of a map of probabilities, whose size the bias tells."""
    last = layer(RNG(2), (1, 4, 1, 1))
    return ("a", A), torch.relu, ("b", last), lambda x: torch.sigmoid(x + bias)


def test_a_detector_that_finds_nothing_is_shown_objects_and_judged_by_inner_activations():
    calibration = of(*detector(-12.0), stated=InputValues((0.0, 1.0), None, None))
    assert (
        "text, faces and things are drawn" in calibration.report_members["images_from"]
    )
    assert calibration.judging.quiet
    assert calibration.judged_program.outputs == ("v2",)


def test_a_model_whose_outputs_speak_is_judged_by_them():
    calibration = of(*detector(0.0), stated=InputValues((0.0, 255.0), None, None))
    assert "text" not in calibration.report_members["images_from"]
    assert not calibration.judging.quiet
    assert calibration.judged_program is calibration.program


def test_of_one_channel_nothing_tells_whether_they_are_pictures_unless_pictures_come_out():
    grey = layer(RNG(1), (4, 1, 3, 3), padding=1)
    stated = InputValues((0.0, 1.0), None, None)
    classifier = of(
        ("a", grey), torch.relu, pooled, shape=(1, 1, 32, 40), stated=stated
    )
    assert any(
        "pictures or spectrograms" in doubt for doubt in classifier.judging.doubts
    )
    back = layer(RNG(1), (1, 4, 3, 3), padding=1)
    denoiser = of(
        ("a", grey), torch.relu, ("b", back), shape=(1, 1, 32, 40), stated=stated
    )
    assert not denoiser.judging.doubts
