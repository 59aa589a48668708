"""The collector: measures the cost table of ONNX Runtime on a device without convpress.

It needs ONNX Runtime and numpy alone, and writes the file of a table. `pack` puts it into one file
that Python runs.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import onnxruntime as ort

from worker.engine.costs import cold_weights
from worker.engine.costs.block import block_of
from worker.engine.costs.grid import VERSION
from worker.engine.costs.onnx_stopwatch import (
    adding_nanoseconds,
    chain_nanoseconds,
    nanoseconds,
    operator_nanoseconds,
)
from worker.engine.costs.plans import PLANS, added_plans
from worker.engine.costs.processor import host_name
from worker.engine.costs.sweep import ROUNDS, Measurement, sweep

OUTPUT = "onnx.json"
_HELP = """Measure the cost table of ONNX Runtime on this device, on one thread.

The table has the times of layers of many shapes in float. convpress takes it as
`convpress compress --cost-table FILE`, or as the file onnx.json in the folder
CONVPRESS_COSTS_DIR of its workers. No model and no data is read, and nothing is sent.

It takes some minutes: run it while nothing else runs."""


def collect(output: Path, rounds: int, within: Callable[[int, int], None]) -> None:
    """Measure this device, and write its table.

    Args:
        output: the path of the table.
        rounds: the times that every layer is measured, of which the least counts.
        within: receives the number of grids that are done, and the number of all.
    """
    target = output.absolute()
    folder = Path.cwd()
    # the runtime's profiler writes into the working directory
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)
        try:
            members = _members(rounds, within)
        finally:
            os.chdir(folder)
    target.write_text(json.dumps(members, separators=(",", ":")))


def _members(rounds: int, within: Callable[[int, int], None]) -> dict[str, Any]:
    """Return the members of the table's file."""
    work = [Measurement(kind, plan, nanoseconds) for kind, plan in PLANS.items()]
    work += [
        Measurement(kind, plan, adding_nanoseconds)
        for kind, plan in added_plans(PLANS).items()
    ]
    grids = sweep(work, within, rounds)
    return {
        "version": VERSION,
        "format": "onnx",
        "runtime": f"onnxruntime {ort.__version__}",
        "host": host_name(),
        "layer_ns": operator_nanoseconds(),
        "grids": {kind: asdict(grid) for kind, grid in grids.items()},
        "block": block_of(nanoseconds),
        "cold_ns_per_byte": cold_weights.nanoseconds_per_byte(chain_nanoseconds),
    }


def main(arguments: list[str] | None = None) -> None:
    """Read the options of the command line, and measure."""
    parser = argparse.ArgumentParser(
        description=_HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--output", type=Path, default=Path(OUTPUT), help=f"default: {OUTPUT}"
    )
    parser.add_argument(
        "--rounds",
        type=int,
        default=ROUNDS,
        help=f"times that all is measured; default: {ROUNDS}",
    )
    options = parser.parse_args(arguments)
    if options.rounds < 1:
        parser.error(f"--rounds is at least 1, not {options.rounds}")
    if not options.output.absolute().parent.is_dir():
        parser.error(f"the folder of {options.output} does not exist")
    collect(options.output, options.rounds, _show)
    sys.stderr.write(f"\rwritten to {options.output}\n")


def _show(done: int, of: int) -> None:
    sys.stderr.write(f"\r{done} of {of} grids")
    sys.stderr.flush()
