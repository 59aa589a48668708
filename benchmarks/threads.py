"""How much faster a job measures on two threads than on one.

    python benchmarks/threads.py MODEL.onnx [--rounds 3]

Calibrated jobs run in turn with CONVPRESS_JOB_THREADS of 1 and of 2, in an engine that is imported
as in a spare child. The seconds are those of the phase `measuring` by the clock, which other
programs lengthen, more so on two threads: the column `load` has the mean number of programs that
ran or waited in the last minute, these included. `processor` is the ratio of the two processor
times: above 1 is work that a second thread adds.
"""

import argparse
import os
import tempfile
from pathlib import Path
from statistics import median

from running import warm_engine

from convpress.budgets import FLOPS
from worker.engine.request import Request

KEEP = "0.5"


def main() -> None:
    """Run both jobs in turn, and print a row a round and the median ratio."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    print("| one thread s | two threads s | times as fast | processor | load |")
    print("|---|---|---|---|---|")
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(arguments.rounds):
            one = measuring(arguments.model, 1, Path(folder))
            two = measuring(arguments.model, 2, Path(folder))
            ratios.append(one.clock / two.clock)
            print(
                f"| {one.clock:.2f} | {two.clock:.2f} | {ratios[-1]:.2f} "
                f"| {two.processor / one.processor:.2f} | {os.getloadavg()[0]:.1f} |",
                flush=True,
            )
    print(f"median: {median(ratios):.2f} times as fast")


def measuring(model: Path, threads: int, folder: Path) -> warm_engine.Seconds:
    """Return the seconds that a job measures for."""
    steps = warm_engine.marks(
        Request(
            str(model),
            "onnx",
            str(folder / "out.onnx"),
            str(folder / "report.json"),
            budgets={FLOPS.field: KEEP},
            job_threads=threads,
        )
    )
    return warm_engine.seconds_of_phases(steps)["measuring"]


if __name__ == "__main__":
    main()
