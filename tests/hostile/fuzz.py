"""Mutate honest models: all through the container check, some of those that pass through the whole child.

    python tests/hostile/fuzz.py CHECKED OPENED [SEED]

Prints how each ended; anything but success, a coded failure or a bounded end raises. The tests run a short form.
"""

import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from contract import gate
from contract.limits import Limits
from contract.protobuf import write_varint
from contract.refusal import Refusal
from worker import sandbox
from worker.confinement import Confinement
from worker.engine.request import Request
from worker.messages import Failed

MODELS = Path(__file__).parent.parent / "models"
HONEST = [
    (MODELS / name).read_bytes() for name in ("plain.onnx", "plain.traced.pt", "residual.onnx", "plain.scripted.pt")
]


def mutated(content: bytes, chance: random.Random) -> bytes:
    """Return a model with a few bytes changed, pieces moved, cut out, doubled, or numbers made extreme."""
    out = bytearray(content)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
        at = chance.randrange(len(out)) if chance.random() < 0.3 else chance.randrange(min(len(out), 4000))
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
                out[at : at + size] = write_varint(chance.choice((0, 1, 127, 1 << 31, (1 << 63) - 1, (1 << 64) - 1)))
            case _:
                other = chance.randrange(len(out))
                out[at : at + size] = out[other : other + size]
        if not out:
            return content
    return bytes(out)


def check(path: Path) -> str:
    """Return `passed` or the code of the refusal."""
    try:
        gate.check(path, "onnx" if path.suffix == ".onnx" else "torchscript", Limits())
    except Refusal as refusal:
        return str(refusal.code)
    return "passed"


def open_whole(path: Path, home: Path) -> str:
    """Return how the whole child ended on a file."""
    kind = "onnx" if path.suffix == ".onnx" else "torchscript"
    request = Request(str(path), kind, str(home / "out"), str(home / "report"), {"flops_budget": "0.5"}, "1x1x16x16")
    confinement = Confinement(home, readable=(path,), memory_bytes=3 * 1024**3)
    outcome = sandbox.run(
        sandbox.ENGINE, [request.to_json()], confinement, seconds=60, on_progress=lambda _: None, wanted=lambda: True
    )
    return outcome.error["code"] if isinstance(outcome, Failed) else type(outcome).__name__


def run(checked: int, opened: int, seed: int, folder: Path) -> tuple[Counter[str], Counter[str], float]:
    """Return how the checks and the openings ended, and the longest check in seconds."""
    chance = random.Random(seed)
    checks: Counter[str] = Counter()
    ends: Counter[str] = Counter()
    longest = 0.0
    home = folder / "home"
    home.mkdir()
    for _ in range(checked):
        honest = chance.choice(HONEST)
        path = folder / ("model.onnx" if not honest.startswith(b"PK") else "model.pt")
        path.write_bytes(mutated(honest, chance))
        started = time.process_time()
        found = check(path)
        longest = max(longest, time.process_time() - started)
        checks[found] += 1
        if found == "passed" and ends.total() < opened:
            ends[open_whole(path, home)] += 1
    return checks, ends, longest


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        found = run(int(sys.argv[1]), int(sys.argv[2]), int([*sys.argv, "0"][3]), Path(scratch))
    sys.stdout.write(f"checked {dict(found[0])}\nopened {dict(found[1])}\nlongest check {found[2]:.3f} s\n")
