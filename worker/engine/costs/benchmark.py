"""The benchmark of a cost table: one layer of each shape, alone on one thread of the runtime."""

from collections.abc import Callable
from importlib.metadata import version

from convpress.formats import FORMATS, Format
from worker.engine.costs import cold_weights
from worker.engine.costs.block import block_of
from worker.engine.costs.kinds import CONVERSION
from worker.engine.costs.plans import PLANS, added_plans, conversion_plan, int8_plans
from worker.engine.costs.processor import host_name
from worker.engine.costs.sweep import Measurement, sweep
from worker.engine.costs.table import CostTable
from worker.engine.formats import adapter_of


def measure(model_format: Format, within: Callable[[int, int], None]) -> CostTable:
    """Measure a table of this host.

    Args:
        model_format: the format whose runtime is measured.
        within: receives the number of grids that are done, and the number of all.

    Returns:
        a table with a grid of every kind.
    """
    adapter = adapter_of(model_format)
    watch, layer_ns = adapter.stopwatch()
    work = [Measurement(kind, plan, watch) for kind, plan in PLANS.items()]
    if adapter.adding_stopwatch is not None:
        adding = adapter.adding_stopwatch
        work += [
            Measurement(kind, plan, adding) for kind, plan in added_plans(PLANS).items()
        ]
    if adapter.int8_stopwatch is not None:
        int8 = adapter.int8_stopwatch
        work += [
            Measurement(kind, plan, int8) for kind, plan in int8_plans(PLANS).items()
        ]
    if adapter.conversion_stopwatch is not None:
        work.append(
            Measurement(CONVERSION, conversion_plan(), adapter.conversion_stopwatch)
        )
    cold_ns_per_byte = 0.0
    if adapter.chain_stopwatch is not None:
        cold_ns_per_byte = cold_weights.nanoseconds_per_byte(adapter.chain_stopwatch)
    runtime = FORMATS[model_format].runtime
    return CostTable(
        format=model_format,
        runtime=f"{runtime} {version(runtime)}",
        host=host_name(),
        layer_ns=layer_ns,
        grids=sweep(work, within),
        block=block_of(watch),
        cold_ns_per_byte=cold_ns_per_byte,
    )
