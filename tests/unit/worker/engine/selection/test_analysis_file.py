"""A kept analysis gives the same artifact as a new one, and any other file counts as none."""

import json

import numpy as np
import pytest
from digits import MODELS
from safetensors import safe_open
from safetensors.numpy import save_file
from support.engine.calibrating import calibrate_little

from convpress.gate.identify import identify
from convpress.report import Report
from worker.engine.formats import open_model
from worker.engine.pipeline import compress
from worker.engine.request import Request
from worker.engine.selection import analysis_file
from worker.sandbox.account_parser import read

SHAPE = "1x1x16x16"


@pytest.fixture(autouse=True)
def little_calibration(monkeypatch):
    calibrate_little(monkeypatch)


def run(folder, name, budget, **asked):
    """Return the bytes of an artifact, its report, and the phases that led there."""
    folder.mkdir(exist_ok=True)
    source = MODELS / name
    output = folder / "out"
    report = folder / "report.json"
    request = Request(
        *(
            str(source),
            identify(source),
            str(output),
            str(report),
            {"flops_budget": budget},
            SHAPE,
        ),
        **asked,
        largest_analysis=1 << 30,
    )
    phases = []
    compress(request, lambda phase, _: phases.append(phase))
    read(Report, report.read_bytes())
    return output.read_bytes(), json.loads(report.read_text()), phases


@pytest.mark.parametrize(
    ("name", "calibration"),
    [
        ("residual.onnx", "none"),
        ("plain.onnx", "synthetic"),
        pytest.param("batchnorm.scripted.pt", "synthetic", marks=pytest.mark.slow),
    ],
)
def test_a_second_budget_skips_to_the_allocation_and_gives_the_same_bytes(
    tmp_path, name, calibration
):
    file = str(tmp_path / "analysis")
    asked = {"calibration": calibration}
    expected, without, phases = run(
        tmp_path / "a", name, "0.4", kept_analysis=file, **asked
    )
    assert "factoring" in phases
    artifact, with_it, phases = run(tmp_path / "b", name, "0.4", analysis=file, **asked)
    assert {"measuring", "factoring"}.isdisjoint(phases)
    assert artifact == expected
    assert [report["engine"]["analysis_reused"] for report in (without, with_it)] == [
        False,
        True,
    ]
    for report in (without, with_it):
        del report["engine"], report["timing"]
        for side in ("before", "after"):
            del report[side]["latency_ms"]
    assert with_it == without
    assert run(tmp_path / "c", name, "0.7", analysis=file, **asked)[1]["keep"] <= 0.7


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """What is kept of two models, with calibration and without."""
    folder = tmp_path_factory.mktemp("kept")
    with pytest.MonkeyPatch.context() as patch:
        calibrate_little(patch)
        run(folder, "plain.onnx", "0.5", kept_analysis=str(folder / "synthetic"))
        run(
            folder,
            "plain.onnx",
            "0.5",
            kept_analysis=str(folder / "none"),
            calibration="none",
        )
    return folder


def reading(path, name="plain.onnx"):
    model = open_model(identify(MODELS / name), MODELS / name)
    return analysis_file.read(path, model, model.count({"image": (1, 1, 16, 16)}))


def test_one_of_another_model_is_none(kept):
    assert reading(kept / "none") is not None
    assert reading(kept / "none", "residual.onnx") is None


@pytest.mark.parametrize("kind", ["none", "synthetic"])
def test_a_damaged_one_is_none(kept, tmp_path, kind):
    content = (kept / kind).read_bytes()
    for damaged in (
        b"",
        content[:7],
        content[:-1],
        content[: len(content) // 2],
        b"\xff" * 8 + content[8:],
    ):
        (tmp_path / "damaged").write_bytes(damaged)
        assert (reading(tmp_path / "damaged") is None) == (damaged != content)
    assert reading(tmp_path / "missing") is None


def set_in(path, value):
    def change(about, arrays):
        *way, last = path
        for step in way:
            about = about[step]
        about[last] = value

    return change


def replace(name, array):
    return lambda about, arrays: arrays.update({name: array})


LIES = {
    "no site": set_in(["sites"], []),
    "a name": set_in(["sites", 0, 0], "other"),
    "a reason": set_in(["sites", 0, 1], 7),
    "a form": set_in(["sites", 0, 2, 0, 0], "svd"),
    "a rank": set_in(["sites", 0, 2, 0, 2], 10**9),
    "a rank of another kind": set_in(["sites", 0, 2, 0, 2], {"a": 1}),
    "a negative error": set_in(["sites", 0, 2, 0, 3], -1.0),
    "an error that is none": set_in(["sites", 0, 2, 0, 3], float("nan")),
    "a candidate": set_in(["sites", 0, 2, 0], []),
    "weights": set_in(["weights"], []),
    "moments of no site": set_in(["calibration", "moments", 0], "other"),
    "more batches": set_in(["calibration", "batches"], 10**12),
    "no count": set_in(["calibration", "batch"], None),
    "no account": set_in(["calibration", "account"], None),
    "a mean of another size": replace("mean 0", np.zeros((1, 3))),
    "a covariance in half": replace("covariance 0 0", np.zeros((1, 9, 9), np.float32)),
    "a covariance of another size": replace("covariance 0 0", np.zeros((1, 4, 9))),
    "a covariance of another type": replace(
        "covariance 0 0", np.eye(9, dtype=np.float16)[None]
    ),
    "an image that is none": replace(
        "fitted 0 image", np.full((16, 1, 16, 16), np.nan, np.float32)
    ),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_one_that_does_not_fit_the_model_is_none(kept, tmp_path, lie):
    with safe_open(kept / "synthetic", "np") as file:
        about = json.loads(file.metadata()["about"])
        arrays = {name: file.get_tensor(name) for name in sorted(file.keys())}
    lie(about, arrays)
    save_file(arrays, tmp_path / "lie", {"about": json.dumps(about)})
    assert reading(tmp_path / "lie") is None


def test_costs_are_the_models_own_whatever_the_file_says(kept):
    sites, *_ = reading(kept / "none")
    for each in sites:
        for candidate in each.candidates[1:]:
            assert candidate.macs == each.site.macs_of(candidate.convolutions)


@pytest.mark.parametrize("place", ["analysis", "missing/analysis"])
def test_one_that_is_larger_than_allowed_or_cannot_be_written_is_none_and_costs_nothing(
    kept, tmp_path, place
):
    analysis_file.write(
        *reading(kept / "synthetic")[:3],
        tmp_path / place,
        100_000 if place == "analysis" else 1 << 30,
    )
    assert not (tmp_path / place).is_file()
