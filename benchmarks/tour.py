"""The demonstration's work: `convpress demo`, from the ready service to the end of its tour.

    python benchmarks/tour.py

Prints the tour, the processor seconds of the demonstration and all its processes before the
service was ready and from then on, and the seconds that passed.
"""

import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[1]


def processor_seconds(process: psutil.Process) -> float:
    """Return the time of a process, of those below it, and of those that they waited for."""
    total = 0.0
    for member in (process, *process.children(recursive=True)):
        try:
            times = member.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def main() -> None:
    """Run the demonstration once."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            **os.environ,
            "CONVPRESS_PORT": str(port),
            "CONVPRESS_DATA_DIR": folder,
            "PYTHONUNBUFFERED": "1",
        }
        with subprocess.Popen(
            [sys.executable, "-m", "worker.cli", "demo"],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        ) as demo:
            assert demo.stdout
            process = psutil.Process(demo.pid)
            start = before = 0.0
            for line in demo.stdout:
                print(line, end="")
                if line.startswith("The service is up"):
                    before = processor_seconds(process)
                    start = time.perf_counter()
                if re.match("The service keeps running", line):
                    break
            after = processor_seconds(process)
            passed = time.perf_counter() - start
            demo.terminate()
    print(f"\nstart-up {before:.1f} s, tour {after - before:.1f} s of processor time")
    print(
        f"the tour took {passed:.1f} s by the clock, at a load of {os.getloadavg()[0]:.1f}"
    )


if __name__ == "__main__":
    main()
