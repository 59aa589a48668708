"""The first wall lets honest models pass, whatever made them, and ends on anything else with a
refusal.
"""

import io
import re
import time
import zipfile
from contextlib import suppress
from pathlib import Path

import onnx
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from convpress.gate.check import require_safe
from convpress.gate.identify import identify
from convpress.limits import Limits
from convpress.refusal import Refusal

MODELS = Path(__file__).parents[3] / "models"
SAMPLES = sorted(MODELS.glob("*.onnx")) + sorted(MODELS.glob("*.pt"))
PUBLISHED = sorted(
    (Path(onnx.__file__).parent / "backend" / "test" / "data").rglob("*.onnx")
)


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.name)
def test_sample_models_pass(path):
    require_safe(path, identify(path), Limits())


def test_every_model_that_comes_with_onnx_passes():
    assert len(PUBLISHED) > 100
    for path in PUBLISHED:
        require_safe(path, "onnx", Limits())


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


def test_a_large_model_costs_little(tmp_path):
    path = tmp_path / "large.onnx"
    weight = onnx.helper.make_tensor(
        "w",
        onnx.TensorProto.FLOAT,
        [128, 1024, 512],
        bytes(4 * 128 * 1024 * 512),
        raw=True,
    )
    graph = onnx.helper.make_graph([], "large", [], [], [weight])
    path.write_bytes(onnx.helper.make_model(graph).SerializeToString())

    def seconds():
        started = time.process_time()
        require_safe(path, "onnx", Limits())
        return time.process_time() - started

    assert (
        min(seconds() for _ in range(5)) < 0.1
    )  # the least, since the machine may be busy


CONTENTS = {
    path.name: path.read_bytes()
    for path in SAMPLES
    if path.name in ("plain.onnx", "plain.traced.pt")
}


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    deadline=None,
    max_examples=150,
)
@given(
    st.sampled_from(sorted(CONTENTS)),
    st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=8)), max_size=5),
)
def test_any_damage_is_let_in_or_refused(tmp_path, name, damage):
    content = bytearray(CONTENTS[name])
    for where, what in damage:
        at = int(where * len(content))
        content[at : at + len(what)] = what
    path = tmp_path / "damaged"
    path.write_bytes(content)
    with suppress(Refusal):
        require_safe(
            path, "onnx" if name.endswith(".onnx") else "torchscript", Limits()
        )


def test_limits_are_what_decides():
    for tight, name in [
        (Limits(nodes=3), "plain.onnx"),
        (Limits(tensors=3), "plain.onnx"),
        (Limits(fields=30), "plain.onnx"),
        (Limits(tensor_bytes=1000), "plain.onnx"),
        (Limits(members=3), "plain.traced.pt"),
        (Limits(pickle_bytes=300), "plain.traced.pt"),
        (Limits(pickle_steps=30), "plain.traced.pt"),
        (Limits(source_tokens=30), "plain.traced.pt"),
        (Limits(nesting=1), "plain.traced.pt"),
    ]:
        path = MODELS / name
        with pytest.raises(Refusal) as refusal:
            require_safe(path, identify(path), tight)
        assert refusal.value.code == "model_over_limit", tight


def test_the_format_that_is_not_wanted_is_refused():
    with pytest.raises(Refusal, match="onnx, not torchscript"):
        require_safe(MODELS / "plain.onnx", "torchscript", Limits())


def test_compressed_members_may_grow_so_far_and_no_further(tmp_path):
    source = io.BytesIO(CONTENTS["plain.traced.pt"])
    path = tmp_path / "grown.pt"
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w") as new:
        for member in old.infolist():
            new.writestr(member, old.read(member))
        new.writestr("plain.traced/extra/note", b"x" * 100_000, zipfile.ZIP_DEFLATED)
    require_safe(path, "torchscript", Limits(inflation=1000))
    for tight in (Limits(inflation=20), Limits(inflation=1000, inflated_bytes=99_999)):
        with pytest.raises(Refusal) as refusal:
            require_safe(path, "torchscript", tight)
        assert refusal.value.code == "model_over_limit"


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize(
    ("location", "size", "code"),
    [
        ("weights.bin", 36 * 4, None),
        ("./weights.bin", 36 * 4, None),
        ("weights.bin", 36 * 4 - 1, "model_invalid"),
        ("other.bin", 36 * 4, "model_unsupported"),
        ("../../etc/passwd", 36 * 4, "model_unsafe"),
    ],
)
def test_a_bundle_may_refer_to_its_own_files_alone(
    tmp_path, method, location, size, code
):
    weight = onnx.TensorProto(name="w", dims=[4, 1, 3, 3], data_type=1, data_location=1)
    weight.external_data.add(key="location", value=location)
    model = onnx.helper.make_model(onnx.helper.make_graph([], "g", [], [], [weight]))
    path = tmp_path / "bundle.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("net/model.onnx", model.SerializeToString())
        archive.writestr("net/weights.bin", bytes(range(size)))
    if code is None:
        require_safe(path, "onnx", Limits())
        return
    with pytest.raises(Refusal) as refusal:
        require_safe(path, "onnx", Limits())
    assert refusal.value.code == code
