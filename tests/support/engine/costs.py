"""A cost table that was not measured: what the kinds of layers take a multiply-accumulate is what a
test says.
"""

from pathlib import Path

from worker.engine.costs.grid import Grid
from worker.engine.costs.plans import PLANS
from worker.engine.costs.table import CostTable


def cost_table(model_format="onnx", layer_ns=100.0, **rates):
    """A table of one point a kind: a nanosecond, or what is given, with `_` for the blank in a
    kind's name.
    """
    named = {kind: rates.get(kind.replace(" ", "_"), 1.0) for kind in PLANS}
    grids = {
        kind: Grid((1,), (1,), (1,), (((rate,),),)) for kind, rate in named.items()
    }
    return CostTable(model_format, "a runtime", "a host", layer_ns, grids)


def written(folder: Path, **settings) -> Path:
    """Write such a table."""
    path = folder / "costs.json"
    cost_table(**settings).write(path)
    return path
