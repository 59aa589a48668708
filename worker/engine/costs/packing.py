"""The collector in one file: a zip of its modules, which Python runs without convpress."""

import zipfile
from pathlib import Path, PurePosixPath

_ROOT = Path(__file__).parents[3]
_MODULES = (
    "worker/engine/costs/block.py",
    "worker/engine/costs/cold_weights.py",
    "worker/engine/costs/collector.py",
    "worker/engine/costs/grid.py",
    "worker/engine/costs/kinds.py",
    "worker/engine/costs/onnx_bytes.py",
    "worker/engine/costs/onnx_stopwatch.py",
    "worker/engine/costs/plans.py",
    "worker/engine/costs/processor.py",
    "worker/engine/costs/sweep.py",
    "worker/engine/formats/onnx/runtime/session_options.py",
    "worker/engine/numerics/convolution.py",
    "worker/engine/numerics/threads.py",
)
_SHEBANG = b"#!/usr/bin/env python3\n"
# The runtime reads the variable at its import, and would note the device and send events.
_MAIN = """import os
import sys
from importlib.util import find_spec

missing = [name for name in ("numpy", "onnxruntime") if find_spec(name) is None]
if missing:
    sys.exit("this needs " + ", ".join(missing) + ": pip install onnxruntime")
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

from worker.engine.costs.collector import main

main()
"""
_EXECUTABLE = 0o755


def pack(target: Path) -> None:
    """Write the collector to `target`: the same bytes each time."""
    sources = {name: (_ROOT / name).read_text() for name in _MODULES}
    # the packages' own files import what a device may not have
    for name in _MODULES:
        packages = list(PurePosixPath(name).parents)[:-1]
        sources |= {f"{package}/__init__.py": "" for package in packages}
    sources["__main__.py"] = _MAIN
    with target.open("wb") as file:
        file.write(_SHEBANG)
        with zipfile.ZipFile(file, "w") as archive:
            for name, source in sorted(sources.items()):
                # an entry's default date is a fixed one
                entry = zipfile.ZipInfo(name)
                archive.writestr(entry, source, zipfile.ZIP_DEFLATED)
    target.chmod(_EXECUTABLE)
