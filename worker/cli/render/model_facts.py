"""The facts of a model before any compression: its format, its inputs and outputs, its size."""

from rich.console import Group
from rich.table import Table

from convpress.report import Inspection
from convpress.text.quantities import amount, size
from worker.cli.render.incomplete import incomplete, restored, sized_by_values
from worker.cli.render.tables import plain


def overview(model: Inspection) -> Group:
    """Return a model's format, inputs, outputs and size."""
    above = (*incomplete(model), *restored(model), *sized_by_values(model))
    return Group(*above, _facts(model))


def _facts(model: Inspection) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_row("format", model.format)
    for name, tensors in (("input", model.inputs), ("output", model.outputs)):
        for tensor in tensors:
            table.add_row(
                name, plain(f"{tensor.name}: {tensor.dtype} {_declared(tensor.shape)}")
            )
    table.add_row("parameters", amount(model.parameters))
    table.add_row("file", size(model.bytes))
    table.add_row("MACs", "?" if model.macs is None else amount(model.macs))
    if model.uncounted:
        operators = ", ".join(
            f"{op} {number}" for op, number in model.uncounted.items()
        )
        table.add_row("not counted", plain(operators))
    return table


def _declared(shape: str | None) -> str:
    if shape is None:
        return "of unknown shape"
    return shape or "without axes"
