"""TorchScript archives of a small module, whole, damaged, or with members of another content."""

import io
import zipfile

import pytest
import torch
from torch import nn

from convpress.refusal import Refusal
from worker.engine.formats.torchscript.model import TorchScriptModel


def write(tmp_path, **extra):
    path = tmp_path / "model.pt"
    module = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 3)
    )
    torch.jit.save(torch.jit.script(module.eval()), path, _extra_files=extra)
    return path


def damaged(tmp_path, change):
    path = write(tmp_path)
    path.write_bytes(change(path.read_bytes()))
    return path


def rewritten(tmp_path, change):
    """The archive with its members changed by name and content, in sound zip format."""
    path = write(tmp_path)
    with (
        zipfile.ZipFile(io.BytesIO(path.read_bytes())) as old,
        zipfile.ZipFile(path, "w") as new,
    ):
        for member in old.infolist():
            new.writestr(member.filename, change(member.filename, old.read(member)))
    return path


def refusal_of(path):
    with pytest.raises(Refusal) as refused:
        TorchScriptModel.open(path)
    assert "\n" not in refused.value.detail
    assert len(refused.value.detail) < 500
    return refused.value
