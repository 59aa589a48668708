"""The TorchScript adapter: modules opened as graphs, torch to run them."""

from contextlib import nullcontext

from worker.engine.formats.adapter import FormatAdapter
from worker.engine.formats.aten.stopwatch import stopwatch
from worker.engine.formats.torchscript import runner
from worker.engine.formats.torchscript.model import TorchScriptModel

# torch runs a chain faster than the sum of its branches: `benchmarks/layouts.py` measures both.
ADAPTER = FormatAdapter(
    open=TorchScriptModel.open,
    load_runner=runner.load,
    readable=nullcontext,
    stopwatch=stopwatch,
    default_layout="whole",
    aligned_ranks=False,
    adds_in_convolution=False,
    macs_per_output=25,
)
