"""Files that are no model of ours are named, with what to send instead."""

import bz2
import gzip
import io
import json
import lzma
import pickle
import struct
import tarfile
import time
import zipfile

import pytest
import torch

from convpress.formats import EXPECTED
from convpress.gate.foreign import ARCHIVES, FILES
from convpress.gate.identify import identify
from convpress.gate.protobuf import write_varint
from convpress.refusal import Refusal

OTHER_FORMAT = "model_unsupported"
NO_MODEL = "model_unrecognised"


def delimited(number, payload):
    return write_varint(number << 3 | 2) + write_varint(len(payload)) + payload


def zipped(*names):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    return file.getvalue()


def safetensors(pad):
    header = json.dumps(
        {"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
    ).encode()
    header = header.ljust(pad)
    return struct.pack("<Q", len(header)) + header + bytes(4)


def packed(*names):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name in names:
            archive.addfile(tarfile.TarInfo(name))
    return file.getvalue()


OLDEST = packed("sys_info", "pickle", "storages", "tensors")
NODE = delimited(1, b"x") + delimited(2, b"Placeholder")
META = delimited(1, delimited(4, b"serve"))
EXPORTED = ("net/archive_format", "net/models/model.json", "net/data/weights/weight_0")
KERAS = ("metadata.json", "config.json", "model.weights.h5")
PACKAGE = (
    "a.mlpackage/Manifest.json",
    "a.mlpackage/Data/com.apple.CoreML/model.mlmodel",
)

FOREIGN = {
    # The length of the header may begin as an ONNX file, or as a pickle.
    "safetensors": (safetensors(0x108), OTHER_FORMAT, "safetensors"),
    "safetensors as a pickle": (safetensors(0x180), OTHER_FORMAT, "safetensors"),
    "safetensors of nothing": (
        struct.pack("<Q", 2) + b"{}",
        OTHER_FORMAT,
        "safetensors",
    ),
    "h5": (b"\x89HDF\r\n\x1a\n" + bytes(100), OTHER_FORMAT, "HDF5"),
    "torch 0.1": (OLDEST, OTHER_FORMAT, "checkpoint of version 0.1"),
    "torch 1.2": (
        zipped("net/version", "net/code/net.py", "net/model.json", "net/tensors/0"),
        OTHER_FORMAT,
        "TorchScript archive of torch 1.2",
    ),
    "keras": (zipped(*KERAS), OTHER_FORMAT, "Keras"),
    "tflite": (b"\x1c\0\0\0TFL3" + bytes(100), OTHER_FORMAT, "TensorFlow Lite"),
    "engine": (b"ftrt" + bytes(100), OTHER_FORMAT, "TensorRT"),
    "engine behind metadata": (
        b"\x0a\0\0\0" + b'{"a": "b"}ftrt',
        OTHER_FORMAT,
        "TensorRT",
    ),
    "mlmodel": (
        b"\x08\x04" + delimited(2, b"") + delimited(500, b""),
        OTHER_FORMAT,
        "Core ML",
    ),
    "mlpackage": (zipped(*PACKAGE), OTHER_FORMAT, "Core ML"),
    "saved_model.pb": (b"\x08\x01" + delimited(2, META), OTHER_FORMAT, "SavedModel"),
    "frozen graph": (
        delimited(1, NODE) * 2 + delimited(4, b""),
        OTHER_FORMAT,
        "GraphDef",
    ),
    "SavedModel": (
        zipped("m/saved_model.pb", "m/variables/variables.index"),
        OTHER_FORMAT,
        "SavedModel",
    ),
    "gguf": (b"GGUF\3\0\0\0" + bytes(40), OTHER_FORMAT, "GGUF"),
    "ncnn": (b"7767517\n2 2\nInput x 0 1 x\n", OTHER_FORMAT, "NCNN"),
    "ncnn in binary": (b"\xdd\x85\x76\x00" + bytes(8), OTHER_FORMAT, "NCNN"),
    "pt2 of code": (
        zipped(*EXPORTED, "net/data/aotinductor/model/a.so"),
        OTHER_FORMAT,
        "AOTInductor",
    ),
    "pt2 of AOTInductor alone": (
        zipped("net/archive_format", "net/data/aotinductor/model/a.so"),
        OTHER_FORMAT,
        "AOTInductor",
    ),
    "pt2 of ExecuTorch": (
        zipped("net/archive_format", "net/data/executorch/model.pte"),
        OTHER_FORMAT,
        "ExecuTorch",
    ),
    "pt2 of nothing": (zipped("net/archive_format"), OTHER_FORMAT, "without a program"),
    "pt2 of old": (
        zipped("serialized_exported_program.json", "version"),
        OTHER_FORMAT,
        "torch 2.8 and older",
    ),
    "executorch": (b"\x30\0\0\0ET12eh00" + bytes(40), OTHER_FORMAT, "ExecuTorch"),
    "ort": (b"\x18\0\0\0ORTM" + bytes(40), OTHER_FORMAT, "ONNX Runtime's own format"),
    "openvino": (
        b'<?xml version="1.0"?>\n<net name="a" version="11">',
        OTHER_FORMAT,
        "OpenVINO",
    ),
    "openvino in a zip": (zipped("a.xml", "a.bin"), OTHER_FORMAT, "OpenVINO"),
    "weights in a zip": (
        zipped("m/model.safetensors"),
        OTHER_FORMAT,
        "without a network",
    ),
    "rknn": (b"RKNN" + bytes(40), OTHER_FORMAT, "RKNN"),
    "lfs": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n",
        NO_MODEL,
        "Git LFS pointer",
    ),
    "html": (b"\xef\xbb\xbf\n<!DOCTYPE html><html></html>", NO_MODEL, "web page"),
    "html of old": (b"<HTML><body>404</body></HTML>", NO_MODEL, "web page"),
    "xml": (
        b'<?xml version="1.0"?><Error><Code>NoSuchKey</Code></Error>',
        NO_MODEL,
        "XML",
    ),
    "json": (b'{\n  "error": "not found"\n}', NO_MODEL, "JSON"),
    "json list": (b"[1, 2]", NO_MODEL, "JSON"),
    "path": (b"/home/ann/models/net.onnx\n", NO_MODEL, "name or address"),
    "name": (b"my net.onnx", NO_MODEL, "name or address"),
    "name for curl": (b"@net.onnx", NO_MODEL, "name or address"),
    "path of windows": (b"C:\\models\\net.pt", NO_MODEL, "name or address"),
    "address": (
        b"https://example.com/net.onnx?download=1",
        NO_MODEL,
        "name or address",
    ),
    "text": ("modèle, not one at all\n".encode() * 500, NO_MODEL, "a text"),
    "gzip": (gzip.compress(b"x"), NO_MODEL, "gzip"),
    "bzip2": (bz2.compress(b"x"), NO_MODEL, "bzip2"),
    "xz": (lzma.compress(b"x"), NO_MODEL, "xz"),
    "zstd": (b"\x28\xb5\x2f\xfd" + bytes(9), NO_MODEL, "Zstandard"),
    "7z": (b"7z\xbc\xaf\x27\x1c\0\4" + bytes(24), NO_MODEL, "7-Zip"),
    "rar": (b"Rar!\x1a\x07\x01\0", NO_MODEL, "RAR"),
    "empty zip": (zipped(), NO_MODEL, "empty zip"),
    "npy": (b"\x93NUMPY\1\0" + bytes(120), NO_MODEL, "NumPy"),
    "npz": (zipped("x.npy"), NO_MODEL, "NumPy"),
    "png": (b"\x89PNG\r\n\x1a\n" + bytes(20), NO_MODEL, "picture"),
    "a zipped checkpoint": (zipped("runs/best.pt"), NO_MODEL, "send the file itself"),
    "a zipped program": (zipped("net.pt2"), NO_MODEL, "send the file itself"),
    "empty": (b"", "model_empty", "empty"),
    "pickle": (pickle.dumps({"w": [1.0]}), "model_pickled", "torch.save"),
    "pickle of old": (
        pickle.dumps({"w": [1.0]}, protocol=2),
        "model_pickled",
        "torch.save",
    ),
}


def refusal_of(path, content):
    path.write_bytes(content)
    with pytest.raises(Refusal) as refusal:
        identify(path)
    return refusal.value


@pytest.mark.parametrize(("content", "code", "name"), FOREIGN.values(), ids=FOREIGN)
def test_a_foreign_file_is_named(tmp_path, content, code, name):
    refusal = refusal_of(tmp_path / "model", content)
    assert (str(refusal.code), refusal.field, refusal.expected) == (
        code,
        "model",
        EXPECTED,
    )
    assert name in refusal.detail
    assert refusal.got
    assert len(refusal.detail) < 300


@pytest.mark.parametrize("new", [True, False], ids=["zip", "before torch 1.6"])
def test_what_torch_saves_is_a_pickle(tmp_path, new):
    file = io.BytesIO()
    state = torch.nn.Linear(2, 2).state_dict()
    torch.save(state, file, _use_new_zipfile_serialization=new)
    refusal = refusal_of(tmp_path / "model", file.getvalue())
    assert refusal.code == "model_pickled"
    assert "torch.onnx.export" in refusal.detail


def test_every_kind_says_what_to_do():
    kinds = (*FILES, *ARCHIVES)
    assert len({kind.name for kind in kinds}) == len(kinds)
    words = ("export", "convert", "send", "unpack", "pack", "run ", "download")
    assert all(any(word in kind.advice for word in words) for kind in kinds)


SLOW = {
    "comments": b"<!--" + b"--><!--" * 100_000,
    "slashes": b"/" * 999 + b" ",
    "dots": b"a." * 499 + b" ",
    "spaces": b" " * 100_000,
    "an open tag": b"<net " + b"a" * 100_000,
    "tiny fields": b"\x0a\x00" * 1_000_000,
    "names of slashes": zipped("/".join("a" * 15_000), "/".join("b" * 15_000)),
    "names of dots": zipped(*(".pt" * 10_000 + f"{number}" for number in range(50))),
}


@pytest.mark.parametrize("content", SLOW.values(), ids=SLOW)
def test_no_file_takes_long_to_name(tmp_path, content):
    path = tmp_path / "model"
    path.write_bytes(content)
    started = time.process_time()
    with pytest.raises(Refusal):
        identify(path)
    assert time.process_time() - started < 2
