"""A job's device: placement, computation, and jobs on the processor alone.

Tests that compute on a CUDA device are skipped on hosts without one, under CI=true too: no CI has
one. Elsewhere fake tensors stand for tensors on it: they compute nothing, and refuse to meet
tensors of another device.
"""

import json

import numpy as np
import pytest
import torch
from digits import MODELS
from torch._subclasses.fake_tensor import FakeTensorMode

from convpress.gate.identify import identify
from convpress.refusal import Code, Refusal
from worker.engine.formats import open_model
from worker.engine.numerics import device, linalg
from worker.engine.pipeline import compress
from worker.engine.program import run
from worker.engine.request import Request

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
NETWORKS = (
    "batchnorm_bn.onnx",
    "residual.onnx",
    "residual.scripted.pt",
    "batchnorm.traced.pt",
)
SIZE = 300
"""Of matrices that are worth their way to a device."""


@pytest.fixture(autouse=True)
def _on_the_processor_again():
    yield
    device.choose(device.PROCESSOR)


@pytest.fixture
def torch_instead_of_numpy(monkeypatch):
    """A device that is the processor by another name."""
    monkeypatch.setattr(device, "_chosen", "cuda")
    monkeypatch.setattr(device, "placed", lambda tensor: tensor)


def positive(count=1):
    root = np.random.default_rng(0).standard_normal((count, SIZE, SIZE))
    return root @ root.swapaxes(-1, -2) + np.eye(SIZE)


@pytest.mark.parametrize("name", ["cuda:99", "cuda:x", "quantum"])
def test_a_device_that_is_not_there_is_refused(name):
    with pytest.raises(Refusal, match="torch cannot compute on the device") as refused:
        device.choose(name)
    assert refused.value.code == Code.DEVICE_UNAVAILABLE
    assert refused.value.got == name
    assert device.chosen() == device.PROCESSOR


def test_what_torch_computes_for_a_device_is_what_numpy_does(torch_instead_of_numpy):
    matrices = positive(2)
    right = np.ones((2, SIZE, 3))
    values, vectors = linalg.leading(matrices, SIZE)
    assert vectors * values[:, None] @ vectors.swapaxes(-1, -2) == pytest.approx(
        matrices
    )
    assert linalg.eigvalsh(matrices) == pytest.approx(np.linalg.eigvalsh(matrices))
    assert linalg.cholesky(matrices) == pytest.approx(np.linalg.cholesky(matrices))
    assert linalg.whitened(matrices[0].copy(), right[0].T.copy()) == pytest.approx(
        np.linalg.solve(np.linalg.cholesky(matrices[0]), right[0]).T
    )
    assert linalg.solve(matrices, right) == pytest.approx(
        np.linalg.solve(matrices, right)
    )


def test_failures_of_torch_are_numpys(torch_instead_of_numpy):
    with pytest.raises(np.linalg.LinAlgError):
        linalg.cholesky(-positive())
    with pytest.raises(np.linalg.LinAlgError):
        linalg.solve(np.zeros((SIZE, SIZE)), np.ones((SIZE, 1)))


@pytest.mark.parametrize("network", NETWORKS)
def test_a_program_lies_on_the_device_with_all_that_its_steps_hold(
    network, monkeypatch
):
    path = MODELS / network
    model = open_model(identify(path), path)
    model.count({spec.name: (2, 1, 16, 16) for spec in model.inputs})

    def placed(tensor):
        return torch.empty_strided(
            tensor.shape, tensor.stride(), dtype=tensor.dtype, device="cuda"
        )

    monkeypatch.setattr(device, "_chosen", "cuda")
    monkeypatch.setattr(device, "placed", placed)
    with FakeTensorMode(allow_non_fake_inputs=True), device.computing():
        program = model.program()
        (output,) = run(
            program, {name: torch.zeros(2, 1, 16, 16) for name in program.inputs}
        )
        assert output.device.type == "cuda"


def compressed(folder, network, name):
    output = folder / f"{name.replace(':', '-')}-{network}"
    report = folder / "report.json"
    request = Request(
        str(MODELS / network),
        identify(MODELS / network),
        str(output),
        str(report),
        {"flops_budget": "0.5"},
        input_shape="1x1x16x16",
        device=name,
    )
    compress(request, lambda *_: None)
    return output.read_bytes(), json.loads(report.read_text())


@needs_cuda
@pytest.mark.parametrize("network", NETWORKS)
def test_a_device_gives_what_the_processor_does_up_to_rounding_and_the_same_each_time(
    tmp_path, network
):
    _, expected = compressed(tmp_path, network, "cpu")
    first, report = compressed(tmp_path, network, "cuda")
    again, _ = compressed(tmp_path, network, "cuda")
    assert again == first
    assert report["engine"]["device"] == "cuda"
    assert report["calibration"]["kind"] == expected["calibration"]["kind"]
    assert report["predicted_error"] == pytest.approx(
        expected["predicted_error"], rel=0.1
    )


@needs_cuda
def test_large_matrices_are_factored_on_the_device():
    expected = linalg.eigvalsh(positive())
    device.choose("cuda")
    assert linalg.eigvalsh(positive()) == pytest.approx(expected)
