"""Mutate honest models: all through the container check, some of those that pass through the whole
child.

    make fuzz FUZZ="CHECKED OPENED SEED FOLDER"

Prints how each ended, and keeps in FOLDER those that ended as no model may: with a child that died,
hung or lied, with an error of the engine's own, or with a check that took too much time or memory.
Every end but these is a success or a coded refusal; anything else raises. The tests run a short
form.
"""

import random
import shutil
import sys
import warnings
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from checking import Checked, Checker
from mutants import changed, honest

from convpress.gate.identify import identify
from convpress.limits import Limits
from convpress.report import Inspection, Report
from worker.engine.request import Request
from worker.sandbox import outputs
from worker.sandbox import run as sandbox
from worker.sandbox.messages import Failed, MalformedOutput, Succeeded
from worker.sandbox.policy import Confinement

BAD = frozenset({"Lost", "TimedOut", "Stopped", "MalformedOutput", "engine_error"})
"""Ends that no model may bring about; a crash is one of the sandbox, which holds it."""
MOST_SECONDS = 5.0
"""The processor time that the check of a mutant may take; the largest has two megabytes."""
MOST_BYTES = 400 * 1024**2
"""The memory that the check of a mutant may take."""


def open_whole(path: Path, home: Path, shape: str, calibration: str) -> str:
    """Return the end of a child that ran on a file, and the worker's verdict on its output."""
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
        seconds=600,
        on_progress=lambda _: None,
        is_wanted=lambda: True,
    )
    if isinstance(outcome, Failed):
        return outcome.error["code"]
    if isinstance(outcome, Succeeded):
        try:
            limits = Limits()
            outputs.take(Report, home / "report", limits)
            outputs.take(Inspection, home / "inspection", limits)
            outputs.check_artifact(home / "out", request.format, limits)
        except MalformedOutput:
            return "MalformedOutput"
    return type(outcome).__name__


@dataclass
class Tally:
    """How the checks and the openings ended, and the most that a check took."""

    checks: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    longest: float = 0.0
    largest: int = 0
    excesses: int = 0
    """Checks that died, or took more time or memory than a check may take."""

    def add(self, checked: Checked) -> bool:
        """Count a check; return whether it took more than it may."""
        self.checks[checked.end] += 1
        self.longest = max(self.longest, checked.seconds)
        self.largest = max(self.largest, checked.peak_bytes)
        is_excess = (
            checked.end in ("died", "endless")
            or checked.seconds > MOST_SECONDS
            or checked.peak_bytes > MOST_BYTES
        )
        self.excesses += is_excess
        return is_excess

    @property
    def bad(self) -> Counter[str]:
        """The ends that no model may bring about."""
        bad = Counter({end: count for end, count in self.ends.items() if end in BAD})
        if self.excesses:
            bad["excess"] = self.excesses
        return bad

    def __str__(self) -> str:
        checks = dict(self.checks.most_common())
        ends = dict(self.ends.most_common())
        return (
            f"checked {self.checks.total()}: {checks}\nopened {self.ends.total()}: {ends}\n"
            f"longest check {self.longest:.3f} s, largest {self.largest >> 20} MiB, "
            f"bad ends {self.bad.total()}\n"
        )


def run(
    checked: int, opened: int, seed: int, folder: Path, *, tell: bool = False
) -> Tally:
    """Check `checked` mutants, and open up to `opened` of those that pass; the seed fixes them.

    Those that end badly are kept in `folder`.
    """
    chance = random.Random(seed)
    models = list(honest().values())
    weights = [10 if len(content) < 100_000 else 1 for content, _ in models]
    tally = Tally()
    home = folder / "home"
    path = folder / "model"
    home.mkdir(parents=True)
    with Checker() as checker:
        for number in range(1, checked + 1):
            [(content, shape)] = chance.choices(models, weights)
            calibration = chance.choice(("synthetic", "none"))
            path.write_bytes(changed(content, chance))
            check = checker.check(path)
            if tally.add(check):
                shutil.copyfile(path, folder / f"excess-{check.end}-{number}")
            if check.end == "passed" and tally.ends.total() * checked < opened * number:
                end = open_whole(path, home, shape, calibration)
                tally.ends[end] += 1
                if end in BAD:
                    shutil.copyfile(
                        path, folder / f"{end}-{number}-{shape}-{calibration}"
                    )
            if tell and number % 1000 == 0:
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
