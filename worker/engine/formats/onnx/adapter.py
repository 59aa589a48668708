"""The ONNX adapter: models opened on their skeleton, ONNX Runtime to run them."""

from worker.engine.costs import onnx_stopwatch
from worker.engine.costs.int8_stopwatch import conversion_nanoseconds, int8_nanoseconds
from worker.engine.formats.adapter import FormatAdapter, Int8Writer, Stopwatch
from worker.engine.formats.onnx.floats import write_in_float
from worker.engine.formats.onnx.model import OnnxModel
from worker.engine.formats.onnx.runtime import runner
from worker.engine.formats.onnx.storage.bundle import stored


def _stopwatch() -> tuple[Stopwatch, float]:
    return onnx_stopwatch.nanoseconds, onnx_stopwatch.operator_nanoseconds()


def _int8() -> Int8Writer:
    # imported here: the quantiser takes most of a second, and most jobs need none
    from worker.engine.formats.onnx.int8 import layers, write

    return Int8Writer(
        write.write_in_int8,
        write.write_without_content,
        write.site_losses,
        layers.why_not_int8,
    )


# ONNX Runtime computes channels in blocks of 8 or 16 and has no fast code for depthwise layers with
# several filters a channel: `benchmarks/layouts.py` measures both.
ADAPTER = FormatAdapter(
    open=OnnxModel.open,
    load_runner=runner.load,
    readable=stored,
    stopwatch=_stopwatch,
    default_layout="branches",
    aligned_ranks=True,
    adds_in_convolution=True,
    macs_per_output=4,
    adding_stopwatch=onnx_stopwatch.adding_nanoseconds,
    chain_stopwatch=onnx_stopwatch.chain_nanoseconds,
    int8_stopwatch=int8_nanoseconds,
    conversion_stopwatch=conversion_nanoseconds,
    int8=_int8,
    write_in_float=write_in_float,
)
