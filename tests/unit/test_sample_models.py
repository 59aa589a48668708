"""The committed sample models are what their README says: in every format, accurate, and small."""

import hashlib
from collections import Counter

import numpy as np
import onnx
import pytest
import torch
from digits import MODELS, accuracy, scores, split
from hold_out import write

ACCURACY = {"plain": 0.98444, "batchnorm": 0.99778, "residual": 0.99556}
SUFFIXES = {
    "plain": (".onnx", ".traced.pt", ".scripted.pt"),
    "batchnorm": (".onnx", "_bn.onnx", ".traced.pt", ".scripted.pt"),
    "residual": (".onnx", "_bn.onnx", ".traced.pt", ".scripted.pt", ".pt2"),
}
FILES = [
    (network, suffix) for network, suffixes in SUFFIXES.items() for suffix in suffixes
]


def operators(file: str) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(MODELS / file).graph.node)


@pytest.mark.parametrize(("network", "suffix"), FILES)
def test_accuracy_on_held_out_digits(network, suffix):
    # half an image: another processor may round a close call the other way, nothing more
    assert accuracy(MODELS / f"{network}{suffix}") == pytest.approx(
        ACCURACY[network], abs=1.5 / 450
    )


@pytest.mark.parametrize("network", SUFFIXES)
def test_every_form_of_a_network_says_the_same(network):
    images = split()[1][0][:32]
    first, *others = (
        scores(MODELS / f"{network}{suffix}", images) for suffix in SUFFIXES[network]
    )
    for other in others:
        np.testing.assert_allclose(other, first, rtol=1e-3, atol=1e-4)


def test_no_image_is_both_trained_on_and_held_out():
    (trained, _), (held_out, labels) = split()
    digest = {hashlib.sha256(image.tobytes()).digest() for image in trained}
    assert not any(
        hashlib.sha256(image.tobytes()).digest() in digest for image in held_out
    )
    assert np.bincount(labels).min() >= 35


@pytest.mark.parametrize(
    ("network", "convolutions"), [("batchnorm", 4), ("residual", 6)]
)
def test_batchnorm_is_kept_in_one_onnx_file_and_folded_in_the_other(
    network, convolutions
):
    assert operators(f"{network}.onnx")["BatchNormalization"] == 0
    kept = operators(f"{network}_bn.onnx")
    assert kept["Conv"] == convolutions
    assert kept["BatchNormalization"] == convolutions


@pytest.mark.parametrize("network", SUFFIXES)
def test_traced_and_scripted_files_differ_in_kind(network):
    traced, scripted = (
        (MODELS / f"{network}{suffix}").read_bytes()
        for suffix in (".traced.pt", ".scripted.pt")
    )
    assert b"traced_inputs.pkl" in traced
    assert b"traced_inputs.pkl" not in scripted


@pytest.mark.parametrize("network", ["batchnorm", "residual"])
def test_torchscript_keeps_batchnorm_statistics(network):
    for suffix in (".traced.pt", ".scripted.pt"):
        state = torch.jit.load(MODELS / f"{network}{suffix}").state_dict()
        assert any(name.endswith("running_var") for name in state)


def test_files_are_all_described_and_together_small():
    files = {
        path.name
        for path in (
            *MODELS.glob("*.onnx"),
            *MODELS.glob("*.pt"),
            *MODELS.glob("residual.pt2"),
        )
    }
    assert files == {f"{network}{suffix}" for network, suffix in FILES}
    assert sum((MODELS / file).stat().st_size for file in files) < 2_300_000


def test_the_digits_of_the_demonstration_are_those_of_the_split(tmp_path):
    (trained, _), (images, labels) = split()
    with (
        np.load(MODELS / "digits_test.npz") as test,
        np.load(MODELS / "digits_samples.npz") as few,
    ):
        np.testing.assert_array_equal(test["images"], images)
        np.testing.assert_array_equal(test["labels"], labels)
        np.testing.assert_array_equal(few["image"], trained[: len(few["image"])])
    write(tmp_path)
    for name in ("digits_test.npz", "digits_samples.npz"):
        assert (MODELS / name).stat().st_size < 40_000
        with np.load(tmp_path / name) as again, np.load(MODELS / name) as shipped:
            assert again.files == shipped.files
