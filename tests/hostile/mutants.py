"""Mutants of honest models: damaged, moved, repeated, and made to hold one value many times."""

import io
import json
import random
import tempfile
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import numpy_helper
from torch import nn

from convpress.gate.protobuf import write_varint

MODELS = Path(__file__).parent.parent / "models"
_LONGEST = 2_000_000
# The members of archives that the gate reads in full.
_TEXTS = (".py", "pkl", ".onnx", ".json")
_EXTREMES = (
    None,
    True,
    "",
    "s0",
    -1,
    0,
    2**31,
    2**63 - 1,
    -(2**63),
    1e308,
    "Infinity",
    [],
    {},
)


class Small(nn.Module):
    """A network that is mostly structure, so that most mutations hit some."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            [
                nn.Conv2d(3, 8, 3, padding=1),
                nn.BatchNorm2d(8),
                nn.Conv2d(8, 8, 3, stride=2),
            ]
        )
        self.head = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            x = torch.relu(block(x))
        if x.size(0) > 100:
            x = x[:100]
        return self.head(x.mean([2, 3]))


def _onnx() -> onnx.ModelProto:
    text = """<ir_version: 8, opset_import: ["": 17, "f": 1]>
        g (float[1, 3, 16, 16] x) => (float[1, 4] y)
        <float[8, 3, 3, 3] w, float[8] b, float[8] s, float[8] m, float[8] d, float[8, 8, 3, 3] v,
            float[4, 8] h,
         float[8, 8, 1, 1] j, float[8, 8, 3, 3] k, bool c = {1}> {
            p = Conv <pads = [1, 1, 1, 1]> (x, w, b)  n = BatchNormalization (p, s, b, m, d)
            r = f.twice (n, k)
            q = Conv <strides = [2, 2]> (r, v)
            t = If (c) <
                then_branch = yes () => (float[1, 8, 7, 7] o) { o = Conv (q, j) },
                else_branch = no () => (float[1, 8, 7, 7] e) { e = Neg (q) }>
            a = GlobalAveragePool (t)  l = Flatten (a)  y = Gemm <transB = 1> (l, h) }
        <domain: "f", opset_import: ["": 17]> twice (a, k) => (b) {
            c = Relu (a)  e = Conv <pads = [1, 1, 1, 1]> (c, k)  b = Add (e, a) }"""
    model = onnx.parser.parse_model(text)
    chance = torch.Generator().manual_seed(0)
    for value in model.graph.value_info:
        shape = [size.dim_value for size in value.type.tensor_type.shape.dim]
        if value.name in "wbsmdvhjk":
            weight = torch.rand(shape, generator=chance).numpy()
            model.graph.initializer.append(numpy_helper.from_array(weight, value.name))
    model.graph.ClearField("value_info")
    return model


def _bundle(model: onnx.ModelProto) -> bytes:
    """A zip archive of the model and a file with its weights."""
    packed = io.BytesIO()
    with tempfile.TemporaryDirectory() as name, zipfile.ZipFile(packed, "w") as archive:
        onnx.save(
            model,
            Path(name, "net.onnx"),
            save_as_external_data=True,
            location="weights",
            size_threshold=0,
        )
        for path in sorted(Path(name).iterdir()):
            archive.writestr(zipfile.ZipInfo(path.name), path.read_bytes())
    return packed.getvalue()


def _saved(module: torch.jit.ScriptModule) -> bytes:
    buffer = io.BytesIO()
    torch.jit.save(module, buffer)
    return buffer.getvalue()


def honest() -> dict[str, tuple[bytes, str]]:
    """Models to be mutated, by name, with the shape of their input."""
    torch.manual_seed(0)
    network = Small().eval()
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", torch.jit.TracerWarning
        )  # what is traced does not branch
        traced = torch.jit.trace(network, torch.zeros(1, 3, 16, 16))
    small = {
        "small.onnx": _onnx().SerializeToString(),
        "small.zip": _bundle(_onnx()),
        "small.scripted.pt": _saved(torch.jit.script(network)),
        "small.traced.pt": _saved(traced),
    }
    trained = ("plain.onnx", "plain.traced.pt", "residual.onnx", "plain.scripted.pt")
    exported = {
        path.name: (path.read_bytes(), "2x1x8x8")
        for path in MODELS.glob("exported/*.pt2")
    }
    return (
        exported
        | {name: (content, "1x3x16x16") for name, content in small.items()}
        | {name: ((MODELS / name).read_bytes(), "1x1x16x16") for name in trained}
    )


def mutated(content: bytes, chance: random.Random) -> bytes:
    """Return a model with a few bytes changed, pieces moved, cut out, doubled, or numbers made
    extreme.
    """
    out = bytearray(content)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
        at = (
            chance.randrange(len(out))
            if chance.random() < 0.3
            else chance.randrange(min(len(out), 4000))
        )
        if chance.random() < 0.3:
            at = max(0, len(out) - 1 - chance.randrange(min(len(out), 20_000)))
        size = chance.choice((1, 1, 2, 4, 8, 64))
        match chance.randrange(6):
            case 0:
                out[at] ^= 1 << chance.randrange(8)
            case 1:
                out[at : at + size] = chance.randbytes(size)
            case 2:
                del out[at : at + size]
            case 3:
                out[at:at] = out[at : at + size]
            case 4:
                out[at : at + size] = write_varint(
                    chance.choice((0, 1, 127, 1 << 31, (1 << 63) - 1, (1 << 64) - 1))
                )
            case _:
                other = chance.randrange(len(out))
                out[at : at + size] = out[other : other + size]
        if not out:
            return content
    return bytes(out)


def repacked(content: bytes, chance: random.Random) -> bytes:
    """Return an archive in which members are mutated and the headers agree with them again, so that
    more is read.
    """
    members = _members(content)
    name = chance.choice([name for name in members if name.endswith(_TEXTS)])
    members[name] = mutated(members[name], chance)
    return _packed(members)


def amplified(content: bytes, chance: random.Random) -> bytes:
    """Return an archive of which a piece of a member is repeated many times."""
    members = _members(content)
    name = chance.choice(_readable(members))
    member = members[name]
    at = chance.randrange(len(member))
    piece = member[at : at + chance.choice((1, 1, 2, 3, 4, 5, 6, 8, 12, 20, 40))]
    count = min(10 ** chance.randrange(1, 7), _LONGEST // len(piece))
    members[name] = member[:at] + piece * count + member[at:]
    return _packed(members)


def shared(content: bytes, chance: random.Random) -> bytes:
    """Return an archive in which a value of a pickle is replaced by one that doubles many times."""
    members = _members(content)
    name = chance.choice([name for name in _readable(members) if name.endswith("pkl")])
    member = members[name]
    opcodes = b""
    for level in range(chance.randrange(1, 80)):
        key = (1000 + level).to_bytes(4, "little")
        opcodes += b"r" + key + b"j" + key + chance.choice((b"\x86", b"\x86", b"\x87"))
    at = chance.randrange(2, max(3, len(member) - 1))
    members[name] = (
        member[:at] + chance.choice((b"N", b")", b"")) + opcodes + member[at:]
    )
    return _packed(members)


def _readable(members: Mapping[str, bytes]) -> list[str]:
    """The members that the gate reads in full."""
    return [name for name in members if name.endswith(_TEXTS) and members[name]]


def _members(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {info.filename: archive.read(info) for info in archive.infolist()}


def _packed(members: Mapping[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, member in members.items():
            archive.writestr(zipfile.ZipInfo(name), member)
    return packed.getvalue()


def rewritten(content: bytes, chance: random.Random) -> bytes:
    """Return an archive in which values of a JSON member are others: of elsewhere, or extreme."""
    members = _members(content)
    name = chance.choice([name for name in members if name.endswith(".json")])
    value = json.loads(members[name])
    for _ in range(chance.choice((1, 1, 1, 2, 5))):
        containers = [
            each for each in _within(value) if isinstance(each, (dict, list)) and each
        ]
        container = chance.choice(containers)
        places = (
            list(container) if isinstance(container, dict) else range(len(container))
        )
        others = (*_EXTREMES, *chance.choices(list(_within(value)), k=5))
        place = chance.choice(places)
        # A copy, so that no value holds itself.
        container[place] = json.loads(json.dumps(chance.choice(others)))
    members[name] = json.dumps(value).encode()
    return _packed(members)


def _within(value: Any) -> Iterator[Any]:
    """The values within a value of JSON, and itself."""
    values = [value]
    while values:
        each = values.pop()
        yield each
        if isinstance(each, (dict, list)):
            values += each.values() if isinstance(each, dict) else each


def grown(content: bytes, chance: random.Random) -> bytes:
    """Return an ONNX model in which one of its lists or texts is many times as long."""
    model = onnx.load_from_string(content)
    count = 10 ** chance.randrange(2, 6)
    node = chance.choice(model.graph.node)
    attributes = [each for each in node.attribute if each.ints]
    match chance.randrange(6):
        case 0 if attributes:
            chance.choice(attributes).ints.extend([1] * count)
        case 1:
            node.input.extend([chance.choice(list(node.input) or ["x"])] * count)
        case 2:
            node.output.extend(f"o{number}" for number in range(count))
        case 3:
            node.output[0] = "n" * count
        case 4:
            model.graph.node.extend([node] * min(count, 20_000))
        case _:
            model.graph.initializer[0].dims.extend([1] * count)
    return model.SerializeToString()


def changed(content: bytes, chance: random.Random) -> bytes:
    """Return one mutant of a model."""
    is_archive = content.startswith(b"PK")
    kind = chance.random()
    if (
        is_archive
        and kind < 0.5
        and any(name.endswith(".json") for name in _members(content))
    ):
        return rewritten(content, chance)
    if is_archive and kind < 0.1:
        return amplified(content, chance)
    if (
        is_archive
        and kind < 0.15
        and any(name.endswith("data.pkl") for name in _members(content))
    ):
        return shared(content, chance)
    if not is_archive and kind < 0.1:
        return grown(content, chance)
    return (
        repacked(content, chance)
        if is_archive and kind < 0.75
        else mutated(content, chance)
    )
