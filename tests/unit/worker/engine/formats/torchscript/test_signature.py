"""Inputs of `forward`: tensors and whole numbers, with the sizes that the graph tells."""

import pytest
import torch
from support.torchscript.modules import Net, scripted, write
from torch import nn

from convpress.refusal import Code, Refusal
from worker.engine.formats import load_runner
from worker.engine.formats.torchscript.model import TorchScriptModel
from worker.engine.numerics.random_inputs import random_inputs


def test_the_shape_is_required_and_the_channels_are_told(tmp_path):
    opened = TorchScriptModel.open(write(tmp_path, scripted(Net())))
    with pytest.raises(Refusal) as refused:
        opened.bind(None)
    assert refused.value.code == Code.INPUT_SHAPE_REQUIRED
    assert refused.value.expected == "1x3x?x?"


@pytest.mark.parametrize("shape", [(3, 9, 9), (1, 3, 9, 9)])
def test_an_image_may_come_without_the_axis_of_a_batch(tmp_path, shape):
    path = write(tmp_path, scripted(nn.Sequential(nn.Conv2d(3, 4, 3))))
    opened = TorchScriptModel.open(path)
    shapes = opened.bind({"": shape})
    assert shapes == {"input": shape}
    assert opened.count(shapes).macs == 7 * 7 * 4 * 27
    inputs = random_inputs(opened.inputs, shapes)
    assert load_runner("torchscript", path)(inputs)["output"].shape[-3:] == (4, 7, 7)


@pytest.mark.parametrize("shape", [(9, 9), (2, 1, 3, 9, 9), (4, 9, 9)])
def test_an_image_of_other_axes_or_channels_is_refused(tmp_path, shape):
    opened = TorchScriptModel.open(
        write(tmp_path, scripted(nn.Sequential(nn.Conv2d(3, 4, 3))))
    )
    with pytest.raises(Refusal) as refused:
        opened.bind({"": shape})
    assert refused.value.code == Code.INPUT_SHAPE_MISMATCH


class Rated(nn.Module):
    """A whole number without a default decides what is called."""

    def __init__(self):
        super().__init__()
        self.fast = nn.Conv1d(1, 4, 3)
        self.slow = nn.Conv1d(1, 4, 5, stride=2)

    def forward(self, x, rate: int):
        if rate not in (8000, 16000):
            raise ValueError(f"{rate} is no rate")
        return self.fast(x) if rate == 16000 else self.slow(x)


def test_a_whole_number_is_given_in_the_place_of_a_shape(tmp_path):
    path = write(tmp_path, scripted(Rated()))
    opened = TorchScriptModel.open(path)
    with pytest.raises(Refusal) as refused:
        opened.bind({"x": (1, 1, 12)})
    assert refused.value.code == Code.INPUT_SHAPE_REQUIRED
    assert refused.value.expected == "rate=NUMBER"
    for rate, called, macs in ((16000, "fast", 10 * 12), (8000, "slow", 4 * 20)):
        shapes = opened.bind({"x": (1, 1, 12), "rate": (rate,)})
        assert {
            site.name for site in opened.count(shapes).sites if site.reason is None
        } == {called}
        assert opened.count(shapes).macs == macs
        inputs = random_inputs(opened.inputs, shapes)
        expected = (
            torch.jit.load(path)(torch.from_numpy(inputs["x"]), rate).detach().numpy()
        )
        assert (load_runner("torchscript", path)(inputs)["output"] == expected).all()


@pytest.mark.parametrize(
    ("rate", "reason"), [((44100,), "44100 is no rate"), ((2, 2), "whole number")]
)
def test_a_number_that_the_model_does_not_take_is_refused(tmp_path, rate, reason):
    opened = TorchScriptModel.open(write(tmp_path, scripted(Rated())))
    with pytest.raises(Refusal, match=reason) as refused:
        opened.count(opened.bind({"x": (1, 1, 12), "rate": rate}))
    assert refused.value.code == Code.INPUT_SHAPE_MISMATCH


def test_a_forward_that_takes_no_tensor_is_refused(tmp_path):
    class Words(nn.Module):
        def forward(self, text: str):
            return torch.ones(len(text))

    with pytest.raises(Refusal) as refused:
        TorchScriptModel.open(write(tmp_path, scripted(Words())))
    assert refused.value.code == Code.MODEL_UNSUPPORTED


class Filtered(nn.Module):
    """A filter of the spectrum, whose weights are complex, before a layer of real ones."""

    def __init__(self):
        super().__init__()
        self.filter = nn.Parameter(torch.randn(8, 5, dtype=torch.complex64))
        self.layer = nn.Linear(8, 4)

    def forward(self, x):
        return self.layer(torch.fft.irfft2(torch.fft.rfft2(x) * self.filter))


def test_complex_weights_do_not_tell_the_type_of_the_input(tmp_path):
    opened = TorchScriptModel.open(write(tmp_path, scripted(Filtered())))
    assert [spec.dtype for spec in opened.inputs] == ["float32"]
    assert opened.count(opened.bind({"": (2, 8, 8)})).macs == 2 * 8 * 32
