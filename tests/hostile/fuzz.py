"""Mutate honest models: all through the container check, some of those that pass through the whole
child.

    make fuzz FUZZ="CHECKED OPENED SEED FOLDER"

Prints how each ended, and keeps in FOLDER those that ended as no model may: with a child that died,
hung or lied, or with an error of the engine's own. Every end but these is a success or a coded
refusal; anything else raises. The tests run a short form.
"""

import io
import random
import shutil
import sys
import tempfile
import time
import warnings
import zipfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import onnx
import torch
from onnx import numpy_helper
from torch import nn

from convpress.gate.check import require_safe
from convpress.gate.identify import identify
from convpress.gate.protobuf import write_varint
from convpress.limits import Limits
from convpress.refusal import Refusal
from convpress.report import Inspection, Report
from worker.engine.request import Request
from worker.sandbox import outputs
from worker.sandbox import run as sandbox
from worker.sandbox.messages import Failed, MalformedOutput, Succeeded
from worker.sandbox.policy import Confinement

MODELS = Path(__file__).parent.parent / "models"
BAD = frozenset({"Lost", "TimedOut", "Stopped", "MalformedOutput", "engine_error"})
"""Ends that no model may bring about."""


class Small(nn.Module):
    """A network that is mostly structure, so that most mutations hit some."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            [nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3, stride=2)]
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
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # what is traced does not branch
        traced = torch.jit.trace(network, torch.zeros(1, 3, 16, 16))
    small = {
        "small.onnx": _onnx().SerializeToString(),
        "small.zip": _bundle(_onnx()),
        "small.scripted.pt": _saved(torch.jit.script(network)),
        "small.traced.pt": _saved(traced),
    }
    trained = ("plain.onnx", "plain.traced.pt", "residual.onnx", "plain.scripted.pt")
    return {name: (content, "1x3x16x16") for name, content in small.items()} | {
        name: ((MODELS / name).read_bytes(), "1x1x16x16") for name in trained
    }


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
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    name = chance.choice([name for name in members if name.endswith((".py", ".pkl", ".onnx"))])
    members[name] = mutated(members[name], chance)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, member in members.items():
            archive.writestr(zipfile.ZipInfo(name), member)
    return packed.getvalue()


def check(path: Path) -> str:
    """Return `passed` or the code of the refusal."""
    try:
        require_safe(path, identify(path), Limits())
    except Refusal as refusal:
        return str(refusal.code)
    return "passed"


def open_whole(path: Path, home: Path, shape: str, calibration: str) -> str:
    """Return how the whole child ended on a file, and what the worker thinks of what it left."""
    request = Request(
        str(path),
        identify(path),
        str(home / "out"),
        str(home / "report"),
        {"flops_budget": "0.5"},
        shape,
        calibration=calibration,
        inspection=str(home / "inspection"),
    )
    confinement = Confinement(home, readable=(path,), memory_bytes=3 * 1024**3)
    outcome = sandbox.run(
        sandbox.ENGINE,
        [request.to_json()],
        confinement,
        seconds=60,
        on_progress=lambda _: None,
        is_wanted=lambda: True,
    )
    if isinstance(outcome, Failed):
        return outcome.error["code"]
    if isinstance(outcome, Succeeded):
        try:
            outputs.take(Report, home / "report")
            outputs.take(Inspection, home / "inspection")
            outputs.check_artifact(home / "out", request.format, Limits())
        except MalformedOutput:
            return "MalformedOutput"
    return type(outcome).__name__


@dataclass
class Tally:
    """How the checks and the openings ended, and the longest check in seconds."""

    checks: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    longest: float = 0.0

    @property
    def bad(self) -> Counter[str]:
        """The ends that no model may bring about."""
        return Counter({end: count for end, count in self.ends.items() if end in BAD})

    def __str__(self) -> str:
        checks = dict(self.checks.most_common())
        ends = dict(self.ends.most_common())
        return (
            f"checked {self.checks.total()}: {checks}\nopened {self.ends.total()}: {ends}\n"
            f"longest check {self.longest:.3f} s, bad ends {self.bad.total()}\n"
        )


def run(checked: int, opened: int, seed: int, folder: Path, *, tell: bool = False) -> Tally:
    """Check so many mutants and open so many of those that pass; the same seed makes the same ones.

    Those that end badly are kept in `folder`.
    """
    chance = random.Random(seed)
    models = list(honest().values())
    weights = [10 if len(content) < 100_000 else 1 for content, _ in models]
    tally = Tally()
    home = folder / "home"
    path = folder / "model"
    home.mkdir(parents=True)
    for number in range(1, checked + 1):
        [(content, shape)] = chance.choices(models, weights)
        change = repacked if content.startswith(b"PK") and chance.random() < 0.7 else mutated
        calibration = chance.choice(("synthetic", "none"))
        path.write_bytes(change(content, chance))
        started = time.process_time()
        end = check(path)
        tally.longest = max(tally.longest, time.process_time() - started)
        tally.checks[end] += 1
        if end == "passed" and tally.ends.total() * checked < opened * number:
            end = open_whole(path, home, shape, calibration)
            tally.ends[end] += 1
            if end in BAD:
                shutil.copyfile(path, folder / f"{end}-{number}-{shape}-{calibration}")
            if tell and tally.ends.total() % 50 == 0:
                sys.stdout.write(f"{tally}\n")
                sys.stdout.flush()
    return tally


if __name__ == "__main__":
    # torch announces the end of TorchScript
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    checked, opened, seed = map(int, sys.argv[1:4])
    total = run(checked, opened, seed, Path(sys.argv[4]), tell=True)
    sys.stdout.write(str(total))
    sys.exit(bool(total.bad))
