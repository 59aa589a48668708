"""The TorchScript adapter: modules opened as graphs, torch to run them."""

from contextlib import nullcontext

from worker.engine.costs import torch_stopwatch
from worker.engine.formats.adapter import FormatAdapter, Stopwatch
from worker.engine.formats.torchscript import runner
from worker.engine.formats.torchscript.model import TorchScriptModel


def _stopwatch() -> tuple[Stopwatch, float]:
    # What torch does around a layer is in every time that it takes: nothing comes on top.
    return torch_stopwatch.nanoseconds, 0.0


# torch runs a chain faster than the sum of its branches: `benchmarks/layouts.py` measures both.
ADAPTER = FormatAdapter(
    open=TorchScriptModel.open,
    load_runner=runner.load,
    readable=nullcontext,
    stopwatch=_stopwatch,
    default_layout="whole",
    aligned_ranks=False,
    adds_in_convolution=False,
    macs_per_output=25,
)
