"""The gate for TorchScript lets what torch writes pass, and names what it refuses."""

import io
import re
import zipfile

import pytest
import torch
from torch import nn

from convpress.gate.check import require_safe
from convpress.gate.identify import identify
from convpress.limits import Limits
from convpress.refusal import Refusal


class Varied(nn.Module):
    """Much of what the compiler writes: recurrences, attention, containers, control flow, errors,
    strings.
    """

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(10, 8)
        self.lstm = nn.LSTM(8, 16, 2, batch_first=True, bidirectional=True)
        self.encode = nn.TransformerEncoderLayer(32, 4, batch_first=True)
        self.blocks = nn.ModuleList(
            [nn.Sequential(nn.Conv2d(1, 1, 3), nn.Hardswish()) for _ in range(2)]
        )
        self.named = nn.ModuleDict(
            {"up": nn.Upsample(scale_factor=2.0, mode="bilinear")}
        )
        self.anchors = [1.0, 2.0]

    def forward(self, tokens: torch.Tensor) -> dict[str, torch.Tensor]:
        states, _ = self.lstm(self.embed(tokens))
        image = self.encode(states).unsqueeze(1)
        for block in self.blocks:
            image = block(image)
        for layer in self.named.values():
            image = layer(image)
        if image.dim() != 4:
            raise ValueError(f"torch.save(x) is not called here; {image.dim()} sizes")
        parts: list[torch.Tensor] = []
        while len(parts) < 3:
            parts.append(image.to(torch.float32) * len(parts) * self.anchors[0])
        return {
            "image": torch.nn.functional.interpolate(
                image, size=(7, 7), mode="bicubic"
            ),
            "all": torch.stack(parts),
        }


@pytest.mark.parametrize(
    "made_by",
    [torch.jit.script, lambda model: torch.jit.freeze(torch.jit.script(model))],
)
def test_what_the_compiler_writes_passes(tmp_path, made_by):
    made_by(Varied().eval()).save(tmp_path / "varied.pt")
    require_safe(tmp_path / "varied.pt", "torchscript", Limits())


class Listing(nn.Module):
    def forward(self, x):
        lengths: list[int] = x.sum(1).long().tolist()
        return torch.cat([x[:, :length] for length in lengths], 1)


def test_a_tensor_may_become_a_list(tmp_path):
    path = tmp_path / "listing.pt"
    torch.jit.save(torch.jit.script(Listing()), path)
    require_safe(path, identify(path), Limits())


def mobile(member):
    """Return an archive with one member that names what `optimize_for_mobile` packs."""
    original, changed = io.BytesIO(), io.BytesIO()
    torch.jit.save(torch.jit.script(nn.Conv2d(1, 1, 1)), original)
    with zipfile.ZipFile(original) as old, zipfile.ZipFile(changed, "w") as new:
        for info in old.infolist():
            content = old.read(info)
            if info.filename.endswith(member):
                # torch adds a number to a class that this process has compiled before
                content = re.sub(
                    rb"c__torch__\.torch\.nn\.modules\.conv[.\w]*\nConv2d\n",
                    b"c__torch__.torch.classes.xnnpack\nConv2dOpContext\n",
                    content,
                ).replace(b"torch.conv2d(", b"ops.prepacked.conv2d_clamp_run(")
            new.writestr(info, content)
    return changed.getvalue()


def test_constants_of_the_mobile_interpreter_are_told_to_come_from_before(tmp_path):
    path = tmp_path / "mobile.ptl"
    torch.jit.save(torch.jit.script(nn.ReLU()), path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("mobile/constants/0.storage", bytes(8))
    with pytest.raises(Refusal) as refused:
        require_safe(path, "torchscript", Limits())
    assert refused.value.code == "model_unsupported"
    assert refused.value.expected == "the model from before optimize_for_mobile"


@pytest.mark.parametrize("member", ["data.pkl", ".py"], ids=["pickle", "source"])
def test_models_for_mobile_devices_are_told_to_come_from_before(tmp_path, member):
    path = tmp_path / "mobile.pt"
    path.write_bytes(mobile(member))
    with pytest.raises(Refusal) as refused:
        require_safe(path, "torchscript", Limits())
    assert refused.value.code == "model_unsupported"
    assert refused.value.expected == "the model from before optimize_for_mobile"


@pytest.mark.parametrize(
    "name", ["模型", "modèle", "model[1]", "100%", "a'b&c;", "Модель №5"]
)
def test_torch_names_an_archive_after_its_file(tmp_path, name):
    path = tmp_path / f"{name}.pt"
    torch.jit.save(
        torch.jit.script(nn.Conv2d(1, 1, 1)), path, _extra_files={"классы.txt": b"a"}
    )
    require_safe(path, identify(path), Limits())


# Such models are still about.
@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")
def test_quantised_models_are_told_that_they_are(tmp_path):
    tensor = torch.quantize_per_tensor(torch.rand(4), 0.1, 0, torch.qint8)
    module = torch.jit.script(nn.Identity())
    module._c._register_attribute("weight", torch._C.TensorType.get(), tensor)
    module.save(tmp_path / "quantised.pt")
    with pytest.raises(Refusal, match="quantised tensors") as refused:
        require_safe(tmp_path / "quantised.pt", "torchscript", Limits())
    assert refused.value.code == "model_unsupported"


@pytest.mark.parametrize(
    ("name", "method", "code"),
    [
        ("net/data/9", zipfile.ZIP_STORED, None),
        ("net/data/9", zipfile.ZIP_DEFLATED, "model_unsafe"),
        ("net/data/nine", zipfile.ZIP_STORED, "model_unsafe"),
        ("net/code/a.exe", zipfile.ZIP_STORED, "model_unsafe"),
        ("net/.data/serialization_id", zipfile.ZIP_STORED, None),
    ],
)
def test_members_are_those_that_torch_writes(tmp_path, name, method, code):
    path = tmp_path / "net.pt"
    torch.jit.save(torch.jit.script(nn.Identity()), path)
    with zipfile.ZipFile(path) as old:
        kept = {
            info.filename: old.read(info)
            for info in old.infolist()
            if info.filename != name
        }
    with zipfile.ZipFile(path, "w") as new:
        for known, content in kept.items():
            new.writestr(known, content)
        new.writestr(name, b"x" * 100, method)
    if code is None:
        require_safe(path, "torchscript", Limits())
        return
    with pytest.raises(Refusal) as refusal:
        require_safe(path, "torchscript", Limits())
    assert refusal.value.code == code
