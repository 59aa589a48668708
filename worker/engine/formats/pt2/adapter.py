"""The torch.export adapter: programs opened as graphs, torch to run them."""

from worker.engine.formats.adapter import FormatAdapter
from worker.engine.formats.aten.stopwatch import stopwatch
from worker.engine.formats.pt2 import runner
from worker.engine.formats.pt2.file import without_samples
from worker.engine.formats.pt2.model import ExportedModel

# The kernels are those of TorchScript: its cost table serves, and what was measured of its layouts.
ADAPTER = FormatAdapter(
    open=ExportedModel.open,
    load_runner=runner.load,
    readable=without_samples,
    stopwatch=stopwatch,
    default_layout="whole",
    aligned_ranks=False,
    adds_in_convolution=False,
    macs_per_output=25,
)
