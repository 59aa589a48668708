"""A cost table that was not measured: what the kinds of layers take a multiply-accumulate is what a
test says.
"""

from pathlib import Path

from worker.engine.costs.table import CostTable, Grid

KINDS = (
    *(
        "1x1",
        "3x3",
        "1x3",
        "3x1",
        "5x5",
        "7x7",
        "ragged 1x1",
        "ragged 3x3",
        "grouped 1x1",
        "grouped 3x3",
    ),
    *("depthwise 1x1", "depthwise 3x3", "depthwise 1x3", "depthwise 3x1", "linear"),
)


def cost_table(model_format="onnx", layer_ns=100.0, **rates):
    """A table of one point a kind: a nanosecond, or what is given, with `_` for the blank in a
    kind's name.
    """
    named = {kind: rates.get(kind.replace(" ", "_"), 1.0) for kind in KINDS}
    grids = {kind: Grid((1,), (1,), (1,), (((rate,),),)) for kind, rate in named.items()}
    return CostTable(model_format, "a runtime", "a host", layer_ns, grids)


def written(folder: Path, **settings) -> Path:
    """Write such a table."""
    path = folder / "costs.json"
    cost_table(**settings).write(path)
    return path
