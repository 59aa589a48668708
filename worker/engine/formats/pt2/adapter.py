"""The torch.export adapter: programs opened as graphs, torch to run them."""

from worker.engine.costs import torch_stopwatch
from worker.engine.formats.adapter import FormatAdapter, Stopwatch
from worker.engine.formats.pt2 import runner
from worker.engine.formats.pt2.file import without_samples
from worker.engine.formats.pt2.model import ExportedModel


def _stopwatch() -> tuple[Stopwatch, float]:
    # What torch does around a layer is in every time that it takes: nothing comes on top.
    return torch_stopwatch.nanoseconds, 0.0


# The kernels are those of TorchScript, so its measurements hold (`benchmarks/layouts.py`).
ADAPTER = FormatAdapter(
    open=ExportedModel.open,
    load_runner=runner.load,
    readable=without_samples,
    stopwatch=_stopwatch,
    default_layout="whole",
    aligned_ranks=False,
    adds_in_convolution=False,
    macs_per_output=25,
)
