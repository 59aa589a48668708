"""Whole calibrations: what they say of themselves, and of models from which nothing or little can be learned."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from support.programs import chained, layer, norm

from convpress.calibration import InputValues
from convpress.refusal import Refusal
from worker.engine.calibration import calibrate as calibrating
from worker.engine.calibration import harness as subjects
from worker.engine.calibration.calibrate import calibrate
from worker.engine.calibration.harness import WeakCalibrationError
from worker.engine.calibration.inputs import probing
from worker.engine.calibration.statistics import covariance as observing
from worker.engine.model import TensorSpec
from worker.engine.program import NoProgramError

RNG = np.random.default_rng
A = layer(RNG(1), (4, 3, 3, 3), padding=1)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Few images: what is said of them holds for many."""
    monkeypatch.setattr(calibrating, "_MOST_IMAGES", 64)
    monkeypatch.setattr(calibrating, "_JUDGING_IMAGES", 32)


def of(*parts, shape=(1, 3, 16, 16), dtype="float32", told=None, macs=1000, tell=lambda _: None):
    program, geometries = (
        chained(*parts),
        {part[0]: part[1].convolution for part in parts if isinstance(part, tuple)},
    )
    model = SimpleNamespace(program=lambda: program, inputs=[TensorSpec("v0", dtype, None)])
    return calibrate(model, {"v0": shape}, geometries, macs, told, None, tell)


def pooled(x):
    return x.mean((2, 3))


def test_with_normalisation_images_are_distilled_in_the_range_that_its_statistics_tell():
    stored = norm(RNG(2), 4)
    images = 255 * (0.47 + 0.25 * RNG(0).standard_normal((64, 3, 16, 16)))
    behind = torch.nn.functional.conv2d(
        torch.from_numpy(images).float(), *map(torch.from_numpy, (A.weight, A.bias))
    )
    variance, mean = torch.var_mean(behind, (0, 2, 3))
    stored.mean.copy_(mean)
    stored.variance.copy_(variance)
    found = of(("a", A), stored, torch.relu, pooled)
    assert found.account["ranges"] == ["0 to 255"]
    assert (found.account["kind"], found.account["images"], found.account["steps"]) == (
        "distilled",
        64,
        40,
    )
    assert found.batches[0]["v0"].shape == (32, 3, 16, 16)
    assert found.batches[0]["v0"].max() > 100
    assert found.observation.moments["a"].mean.shape == (1, 27)


def test_a_layer_that_sees_one_row_an_image_leaves_no_direction_out(monkeypatch):
    """Of 16 images the covariance of 48 numbers is singular: cutting 32 directions would seem to cost nothing."""
    monkeypatch.setattr(calibrating, "_MOST_IMAGES", 16)
    wide, last = layer(RNG(5), (48, 3, 3, 3), padding=1), layer(RNG(6), (24, 48))
    covariance = (
        of(("wide", wide), torch.relu, pooled, ("last", last))
        .observation.moments["last"]
        .covariance[0]
    )
    assert np.linalg.eigvalsh(covariance)[0] > 0.01 * covariance.trace() / 48


def test_distilling_tells_how_far_it_is():
    told = []
    of(("a", A), norm(RNG(2), 4), torch.relu, pooled, tell=told.append)
    assert len(told) == 4  # two batches to judge by, two to fit on, of twice as many steps
    assert told == pytest.approx([0.7 / 6, 0.7 / 3, 0.7 * 2 / 3, 0.7])


def test_where_distilling_would_take_too_long_the_twin_serves():
    found = of(("a", A), norm(RNG(2), 4), torch.relu, pooled, macs=10**10)
    assert (found.account["kind"], found.account["twin"]) == ("synthetic", True)
    assert len(found.observation.statistics) == 1


def test_where_there_are_no_gradients_the_twin_serves_and_the_report_says_why():
    found = of(("a", A), lambda x: torch.from_numpy(x.numpy()), norm(RNG(2), 4), torch.relu, pooled)
    assert (found.account["kind"], found.account["twin"]) == ("synthetic", True)
    assert found.account["notes"][0].startswith("not distilled: the model has no gradients: ")


def test_without_normalisation_a_classifiers_images_are_distilled_by_its_classes():
    found = of(("a", A), torch.relu, pooled)
    assert (found.account["kind"], found.account["images"], found.account["steps"]) == (
        "distilled",
        64,
        20,
    )
    assert found.account["ranges_from"] == "how well the model tells synthetic images apart"


def test_without_normalisation_and_classes_dead_leaves_serve_as_they_are():
    found = of(("a", A), torch.relu)
    assert (found.account["kind"], found.account["twin"]) == ("synthetic", False)
    assert found.account["ranges_from"] == "nothing tells: several usual ranges are covered"
    assert not found.observation.statistics
    judging = [batch["v0"] for batch in (*found.held_out, *found.fresh)]
    assert len(judging) >= 2
    assert all(not torch.equal(one, batch["v0"]) for one in judging for batch in found.batches)
    assert not torch.equal(found.held_out[0]["v0"], found.fresh[0]["v0"])


def test_no_more_samples_are_made_than_memory_keeps(monkeypatch):
    monkeypatch.setattr(calibrating, "_MOST_BYTES_KEPT", 32 * 3 * 16 * 16 * 4)
    assert of(("a", A), norm(RNG(2), 4), torch.relu, pooled).account["images"] == 32


def test_beside_few_images_distilled_by_classes_alone_there_are_others(monkeypatch):
    monkeypatch.setattr(calibrating, "_MOST_IMAGES", 256)
    monkeypatch.setattr(
        calibrating, "_MOST_WORK", 60 * 64 * 1000
    )  # 64 images by 20 steps of three runs each
    found = of(("a", A), torch.relu, pooled)
    assert (found.account["kind"], found.account["distilled"], found.account["images"]) == (
        "distilled",
        64,
        192,
    )
    assert len(torch.cat([batch["v0"] for batch in found.batches]).unique(dim=0)) == 192
    found = of(
        ("a", A), norm(RNG(2), 4), torch.relu, pooled
    )  # which would not meet the stored statistics
    assert found.account["distilled"] == found.account["images"] < 192


def test_images_of_a_large_model_without_a_head_are_made_small_enough_to_distil():
    stored = norm(RNG(2), 4)
    macs, shape = (
        25_000_000_000,
        (1, 3, 256, 256),
    )  # at 64 a side 17 steps are affordable, at 32 as many as are wanted
    found = of(("a", A), stored, torch.relu, shape=shape, macs=macs)
    assert (found.account["kind"], found.batches[0]["v0"].shape[2:]) == ("distilled", (32, 32))
    found = of(("a", A), stored, torch.relu, shape=shape, macs=10 * macs)  # neither is
    assert (found.account["kind"], found.batches[0]["v0"].shape[2:]) == ("synthetic", (64, 64))


def numbers_measured(monkeypatch):
    """Return the list to which the number of batches is added whenever some are measured."""
    measured, add = [], calibrating.Observer.add
    monkeypatch.setattr(
        calibrating.Observer,
        "add",
        lambda *asked: (measured.append(len(asked[-1])), add(*asked))[1],
    )
    return measured


def test_samples_that_join_others_are_measured_alone_and_the_moments_are_those_of_all(monkeypatch):
    """Without normalisation: with one, other statistics are other activations, and all are measured anew."""
    monkeypatch.setattr(calibrating, "_MOST_IMAGES", 100)
    monkeypatch.setattr(calibrating, "_CONVERGED", 0.0)
    monkeypatch.setattr(subjects, "_MOST_SAMPLES", 1)
    measured = numbers_measured(monkeypatch)
    found = of(("a", A), torch.relu)
    assert measured == [32, 32, 36]
    assert (
        len(torch.cat([batch["v0"] for batch in found.batches]).unique(dim=0))
        == found.account["images"]
        == 100
    )
    at_once = calibrating.observe(found.program, found.batches, {"a": A.convolution})["a"]
    np.testing.assert_allclose(
        found.observation.moments["a"].covariance, at_once.covariance, rtol=1e-9, atol=1e-12
    )
    measured.clear()
    stored = norm(RNG(2), 4)
    assert of(("a", A), stored, torch.relu, macs=11 * 10**8).account["twin"]  # too large to distil
    assert measured == [32, 64, 100]


def test_the_first_samples_that_may_be_enough_give_all_the_patches_that_are_wanted_and_later_ones_as_many_each(
    monkeypatch,
):
    monkeypatch.setattr(calibrating, "_MOST_IMAGES", 100)
    monkeypatch.setattr(calibrating, "_CONVERGED", 0.0)
    monkeypatch.setattr(subjects, "_MOST_SAMPLES", 1)
    monkeypatch.setattr(observing, "_MOST_ROWS", 640)
    seen, add = [], observing.Sums.add
    monkeypatch.setattr(
        observing.Sums,
        "add",
        lambda sums, patches: (seen.append(len(patches)), add(sums, patches))[1],
    )
    of(("a", A), torch.relu)
    assert seen == [640 // 64] * 100


@pytest.mark.parametrize(("change", "rounds"), [(0.0, 3), (100.0, 2)])
def test_no_more_samples_are_made_once_the_moments_stay_the_same(monkeypatch, change, rounds):
    monkeypatch.setattr(calibrating, "_MOST_IMAGES", 100)
    monkeypatch.setattr(calibrating, "_CONVERGED", change)
    monkeypatch.setattr(subjects, "_MOST_SAMPLES", 1)
    measured = numbers_measured(monkeypatch)
    found = of(("a", A), torch.relu)
    assert measured == [32, 32, 36][:rounds]
    assert found.account["images"] == sum(measured)


def test_sketches_tell_how_much_covariances_change_about_as_well_as_they_do_themselves():
    geometry = layer(RNG(1), (2, 300, 1, 1)).convolution
    observer, alike = (
        calibrating.Observer({"a": geometry}, 2),
        RNG(0).standard_normal((2, 300, 20, 20)),
    )
    program = chained(("a", layer(RNG(1), (2, 300, 1, 1))))
    found = []
    for part in alike * np.linspace(0.1, 2, 300)[None, :, None, None]:
        observer.add(program, [{"v0": torch.from_numpy(part[None].astype(np.float32))}])
        ((_, moments),) = observer.moments()
        found.append((moments.covariance, calibrating._sketches(observer)))
    (before, first), (now, second) = found
    change = np.linalg.norm(now - before) / np.linalg.norm(now)
    assert 0.05 < change < 1
    assert calibrating._change(first, second) == pytest.approx(change, rel=0.1)


def test_of_a_large_model_few_images_are_tried_and_judged_by_and_those_to_fit_on_measured_once(
    monkeypatch,
):
    """Twelve images are affordable of 27.7 G multiply-accumulates; five ranges are tried on the fewest that tell."""
    monkeypatch.setattr(subjects, "_MOST_SAMPLES", 1)
    tried, images = [], probing._images
    monkeypatch.setattr(
        probing, "_images", lambda *asked: (tried.append(asked[-1]), images(*asked))[1]
    )
    measured = numbers_measured(monkeypatch)
    found = of(("a", A), torch.relu, pooled, macs=27_700_000_000)
    assert tried == [4] * 5
    assert measured == [12]
    assert len(found.held_out) == len(found.fresh) == 8


def test_a_told_range_is_taken():
    found = of(("a", A), torch.relu, told=InputValues((-300.0, -100.0), None, None))
    assert (found.account["ranges"], found.account["ranges_from"]) == (["-300 to -100"], "told")
    values = torch.cat([batch["v0"] for batch in found.batches])
    assert -360 < values.min() < -270
    assert -130 < values.max() < -40


def test_a_told_mean_that_does_not_fit_the_channels_is_refused():
    with pytest.raises(Refusal, match="3 channels"):
        of(("a", A), told=InputValues(None, (0.1, 0.2), None))


def test_raw_bytes_are_images():
    found = of(lambda x: x.float() / 255, ("a", A), dtype="uint8")
    assert found.account["ranges_from"] == "the inputs are whole numbers"
    assert found.batches[0]["v0"].dtype == torch.uint8


@pytest.mark.parametrize(
    ("shape", "channels"),
    [((1, 3), 3), ((1, 3, 20), 3), ((1, 3, 1, 9), 3), ((1, 2, 5, 6, 7), 2)],
    ids=str,
)
def test_vectors_signals_and_volumes_are_served_alike(shape, channels):
    site = layer(RNG(1), (4, channels, *(1,) * (len(shape) - 2)))
    found = of(("a", site), norm(RNG(2), 4), torch.relu, shape=shape)
    moments = found.observation.moments["a"]
    assert found.account["kind"] == "distilled"
    assert np.isfinite(moments.covariance).all()
    assert (np.diag(moments.covariance[0]) > 0).all()


def singular(x):
    return torch.linalg.inv(x * 0)


NOT_FINITE, SAME = "gives NaN or infinity", "gives the same outputs whatever the inputs"


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ([("a", A), lambda x: x * torch.nan], NOT_FINITE),
        ([("a", A), lambda x: x / 0], NOT_FINITE),
        ([("a", A), lambda x: torch.ones(2, 5)], SAME),
        ([("a", A), norm(RNG(2), 4), lambda x: x * 0 + 1, pooled], SAME),
        ([("a", A), singular], "does not run on synthetic inputs: singular says: .*inver"),
        ([("a", A), lambda x: x.no_such()], "does not run on synthetic inputs: .*no_such"),
        (
            [("a", A), lambda x: torch.zeros(2)[7]],
            "does not run on synthetic inputs: .*out of bounds",
        ),
    ],
)
@pytest.mark.parametrize(
    "told", [None, InputValues((0.0, 1.0), None, None)], ids=["guessed", "told"]
)
def test_models_of_which_nothing_can_be_learned_say_why(parts, reason, told):
    with pytest.raises(WeakCalibrationError, match=reason):
        of(*parts, told=told)


@pytest.mark.parametrize(
    ("first", "told", "ranges", "least"),
    [
        (torch.sqrt, None, {"0 to 1", "0 to 255"}, 0),
        (torch.sqrt, InputValues((0.0, 9.0), None, None), {"0 to 9"}, 0),
        (torch.asin, None, {"0 to 1", "-1 to 1"}, -1),
        (torch.asin, InputValues(None, (0.5,), (0.5,)), {"mean and deviation"}, -1),
    ],
)
def test_of_what_takes_no_more_than_a_range_images_keep_strictly_to_it(first, told, ranges, least):
    found = of(first, ("a", A), torch.relu, pooled, told=told)
    assert set(found.account["ranges"]) <= ranges
    for batch in (*found.batches, *found.held_out, *found.fresh):
        assert first(batch["v0"]).isfinite().all()
    assert min(batch["v0"].min() for batch in found.batches) >= least


def test_indices_teach_nothing():
    with pytest.raises(
        WeakCalibrationError, match="no input of the model is a batch of images or signals"
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
    found = of(("a", A), torch.log, ("b", layer(RNG(1), (2, 4, 1, 1))), torch.nan_to_num)
    assert set(found.observation.moments) == {"a"}
    assert found.account["notes"] == [
        "by their weights alone, since no finite inputs reach them: b"
    ]


def test_fresh_inputs_are_of_the_models_own_shapes_whatever_was_calibrated_on():
    shape = (2, 3, 128, 128)
    found = of(("a", A), shape=shape, told=InputValues((0.0, 1.0), None, None))
    assert found.batches[0]["v0"].shape[2:] == (64, 64)
    specs = [TensorSpec("v0", "float16", None)]
    inputs = found.fresh_inputs(specs, {"v0": shape}, 5)
    assert [(each["v0"].shape, each["v0"].dtype) for each in inputs] == [(shape, np.float16)] * 5
    np.testing.assert_array_equal(inputs[0]["v0"][..., :64, :64], inputs[0]["v0"][..., 64:, 64:])
    assert not np.array_equal(inputs[0]["v0"], inputs[1]["v0"])
