"""Files of samples: those that fit the model are read in its types, others are refused."""

import json
import zlib

import numpy as np
import onnxruntime
import pytest
from digits import MODELS, accuracy, split

from convpress.gate.identify import identify
from convpress.refusal import Code, Refusal
from convpress.report import Report
from worker.engine.calibration import calibrate
from worker.engine.calibration.harness import WeakCalibrationError
from worker.engine.calibration.inputs import samples_file
from worker.engine.calibration.inputs.samples_file import read_samples
from worker.engine.model import TensorSpec
from worker.engine.pipeline import compress
from worker.engine.request import Request
from worker.sandbox.account_parser import read

IMAGE = TensorSpec("x", "float32", (None, 3, 8, 8))
BYTES = TensorSpec("x", "uint8", (None, 3, 8, 8))
STATE = TensorSpec("state", "int64", (1, 4))
SHAPES = {"x": (2, 3, 8, 8), "state": (1, 4)}
GOOD = np.arange(5 * 3 * 8 * 8, dtype=np.float32).reshape(5, 3, 8, 8)


def saved(folder, arrays):
    path = folder / "samples"
    with path.open("wb") as file:
        if isinstance(arrays, dict):
            np.savez(file, **arrays)
        else:
            np.save(file, arrays)
    return path


def take(folder, arrays, *specs):
    return read_samples(saved(folder, arrays), specs or (IMAGE,), SHAPES)


@pytest.mark.parametrize(
    "dtype", [np.float16, np.float32, np.float64, np.int32, np.uint8, bool, ">f4"]
)
def test_numbers_of_any_kind_become_the_models(tmp_path, dtype):
    stored = (GOOD % 2).astype(dtype)
    for arrays in (stored, {"x": stored}, np.asfortranarray(stored)):
        samples = take(tmp_path, arrays)
        assert samples["x"].dtype == np.float32
        np.testing.assert_array_equal(samples["x"], GOOD % 2)


def test_other_inputs_are_one_runs_or_left_out(tmp_path):
    state = np.array([[1, 2, 3, 4]], np.int32)
    samples = take(tmp_path, {"x": GOOD, "state": state}, IMAGE, STATE)
    assert samples["state"].dtype == np.int64
    np.testing.assert_array_equal(samples["state"], state)
    assert take(tmp_path, {"x": GOOD}, IMAGE, STATE).keys() == {"x"}


@pytest.mark.parametrize(
    ("arrays", "specs", "reason"),
    [
        ({"y": GOOD}, [IMAGE], "no input 'y'"),
        ({"x": GOOD, "y": GOOD}, [IMAGE], "no input 'y'"),
        ({"state": np.zeros((1, 4), int)}, [IMAGE, STATE], "no samples of input 'x'"),
        (GOOD, [IMAGE, STATE], "several inputs"),
        (GOOD[:, :1], [IMAGE], "another shape"),
        (GOOD[:, :, :7], [IMAGE], "another shape"),
        (GOOD[0], [IMAGE], "another shape"),
        (np.float32(1), [IMAGE], "another shape"),
        ({"x": GOOD, "state": np.zeros((5, 4), int)}, [IMAGE, STATE], "another shape"),
        (GOOD[:1], [IMAGE], "too few"),
        (GOOD[:0], [IMAGE], "too few"),
        (np.where(GOOD == 7, np.nan, GOOD), [IMAGE], "NaN or infinity"),
        (np.where(GOOD == 7, np.inf, GOOD), [IMAGE], "NaN or infinity"),
        (np.where(GOOD == 7, 1e300, GOOD.astype(float)), [IMAGE], "NaN or infinity"),
        (GOOD, [BYTES], "takes uint8"),
        (GOOD.astype(int), [BYTES], "cannot hold"),
        ((GOOD % 256).astype(int) - 1, [BYTES], "cannot hold"),
    ],
)
def test_what_does_not_fit_is_refused_with_why(tmp_path, arrays, specs, reason):
    with pytest.raises(Refusal) as refused:
        take(tmp_path, arrays, *specs)
    assert refused.value.code == Code.SAMPLES_INVALID
    assert refused.value.field == "samples"
    assert reason in refused.value.detail
    assert refused.value.expected
    assert refused.value.got


def test_inputs_with_different_numbers_of_samples_are_refused(tmp_path):
    other = TensorSpec("z", "float32", (None, 3, 8, 8))
    path = saved(tmp_path, {"x": GOOD, "z": GOOD[:4]})
    with pytest.raises(Refusal, match="different numbers"):
        read_samples(path, [IMAGE, other], {**SHAPES, "z": (2, 3, 8, 8)})


def test_bytes_that_would_grow_too_large_as_floats_are_refused_before_they_are_read(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(samples_file, "LARGEST_BYTES", 2 * GOOD.size)
    monkeypatch.setattr(samples_file, "_load", lambda _: pytest.fail("it was read"))
    with pytest.raises(Refusal, match="too much"):
        take(tmp_path, GOOD.astype(np.uint8))


def test_damaged_contents_are_refused(tmp_path):
    path = tmp_path / "samples"
    with path.open("wb") as file:
        np.savez_compressed(
            file, x=np.random.default_rng(0).random((5, 3, 8, 8)).astype(np.float32)
        )
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(Refusal, match="damaged"):
        read_samples(path, [IMAGE], SHAPES)


def test_the_checksum_is_checked(tmp_path):
    path = saved(tmp_path, {"x": GOOD})
    content = path.read_bytes()
    at = content.index(GOOD.tobytes())
    other = bytearray(content)
    other[at] ^= 1
    assert zlib.crc32(content) != zlib.crc32(other)
    path.write_bytes(other)
    with pytest.raises(Refusal, match="damaged"):
        read_samples(path, [IMAGE], SHAPES)


def compressed(folder, samples, name="plain.onnx", **asked):
    report = folder / "report.json"
    request = Request(
        str(MODELS / name),
        identify(MODELS / name),
        str(folder / "out.onnx"),
        str(report),
        budgets={"flops_budget": "0.4"},
        input_shape="1x1x16x16",
        calibration="samples",
        samples=str(saved(folder, samples)),
        **asked,
    )
    compress(request, lambda *_: None)
    return read(Report, report.read_bytes())


def test_real_samples_calibrate_and_their_last_fifth_judges(tmp_path):
    report = compressed(tmp_path, split()[0][0][:100].reshape(-1, 1, 16, 16))
    section = report.calibration
    assert section.kind == "samples"
    assert section.ranges_from == "the samples"
    assert section.held_out_samples == 20
    assert section.images == 80
    assert accuracy(tmp_path / "out.onnx") >= accuracy(MODELS / "plain.onnx") - 0.02


def test_the_artifact_is_judged_by_the_samples_that_were_held_out(tmp_path):
    images = split()[0][0][:7].reshape(-1, 1, 16, 16)
    report = compressed(tmp_path, images, input_range="0,1")
    calibration = report.calibration
    assert (calibration.images, calibration.held_out_samples) == (6, 1)
    assert calibration.ranges_from == "the request"
    assert calibration.held_out_error.keys() == {"closed_form", "refitted"}
    assert report.verification.inputs == "samples, held out"
    assert report.verification.runs == 1
    session = onnxruntime.InferenceSession(tmp_path / "out.onnx")
    before = onnxruntime.InferenceSession(MODELS / "plain.onnx")
    [scores], [own] = (
        each.run(None, {"image": images[-1:]}) for each in (before, session)
    )
    centred = scores - scores.mean()
    error = np.linalg.norm(own - own.mean() - centred) / np.linalg.norm(centred)
    assert report.verification.relative_error == pytest.approx(error, rel=1e-3)


def test_samples_too_few_to_hold_any_out_leave_a_doubt(tmp_path):
    images = split()[0][0][:4].reshape(-1, 1, 16, 16)
    report = compressed(tmp_path, images)
    assert report.verification.inputs == "samples, to which the layers were fitted too"
    assert report.risk.level in ("moderate", "high")
    assert "Too few samples were sent to hold any out" in report.risk.text


def test_samples_of_a_model_that_cannot_be_calibrated_fail_the_job(
    tmp_path, monkeypatch
):
    def fail(*_, **__):
        raise WeakCalibrationError("the model cannot be taken apart: it has a loop")

    monkeypatch.setattr(calibrate, "calibrate", fail)
    with pytest.raises(
        Refusal, match=r"the samples cannot be used: .* it has a loop"
    ) as refused:
        compressed(tmp_path, split()[0][0][:7].reshape(-1, 1, 16, 16))
    assert refused.value.code == Code.SAMPLES_INVALID


def test_samples_on_which_the_model_gives_no_numbers_are_refused(tmp_path):
    with pytest.raises(Refusal, match="NaN or infinity") as refused:
        compressed(
            tmp_path, np.full((5, 1, 16, 16), 3e38, np.float32), input_range="0,1"
        )
    assert refused.value.code == Code.SAMPLES_INVALID


def test_one_large_value_everywhere_is_a_range_too(tmp_path):
    section = compressed(
        tmp_path, np.full((5, 1, 16, 16), 1e20, np.float32)
    ).calibration
    assert section.kind == "samples"
    assert section.ranges == ["1e+20 to 2e+20"]


def test_samples_without_the_word_for_them_are_refused(tmp_path):
    source = MODELS / "plain.onnx"
    path = str(saved(tmp_path, GOOD))
    request = Request(
        str(source),
        "onnx",
        str(tmp_path / "artifact.onnx"),
        str(tmp_path / "report.json"),
        budgets={"flops_budget": "0.5"},
        calibration="synthetic",
        samples=path,
    )
    with pytest.raises(Refusal) as refused:
        compress(request, lambda *_: json)
    assert refused.value.code == Code.CALIBRATION_INVALID
