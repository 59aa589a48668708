"""A row a layer: of a report, and of an inspection."""

from rich.console import Group
from rich.text import Text

from convpress.report import Inspection, Report, Site
from convpress.text.quantities import amount, percent
from worker.cli.render.tables import new_table, plain, shape_text


def sites(report: Report) -> Group:
    """Return one row a layer: what it was, and what replaced it; the reasons follow, each once."""
    numbers = [(name, "right") for name in ("rank", "MACs", "after", "error", "note")]
    table = new_table("layer", "weight", "form", *numbers)
    notes = Notes()
    for site in report.sites:
        table.add_row(
            plain(site.name),
            shape_text(site.weight_shape),
            _form(site),
            _rank(site.rank),
            amount(site.macs_before),
            amount(site.macs_after),
            percent(site.error) if site.error else "",
            notes.mark(site.reason),
        )
    return Group(table, *notes.lines())


def inspection(model: Inspection) -> Group:
    """Return one row a layer: its weight and its cost; why some stay as they are follows."""
    table = new_table(
        "layer",
        "op",
        "weight",
        ("MACs", "right"),
        ("calls", "right"),
        ("note", "right"),
    )
    notes = Notes()
    for site in model.sites:
        table.add_row(
            plain(site.name),
            plain(site.op),
            shape_text(site.weight_shape),
            amount(site.macs),
            str(site.calls),
            notes.mark(site.reason),
        )
    return Group(table, *notes.lines())


def _form(site: Site) -> Text:
    """Return the form of a site, its variant, and whether it is in int8."""
    words = [site.form, site.variant, "int8" if site.int8 else None]
    return plain(" ".join(word for word in words if word))


def _rank(rank: int | list[int] | None) -> str:
    if rank is None:
        return ""
    # tucker2 has a rank for each side
    if isinstance(rank, list):
        return shape_text(rank)
    return str(rank)


class Notes:
    """The reasons of a table's rows, numbered in the order in which they appear."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def mark(self, reason: str | None) -> str:
        """Return the number of a reason; empty for none."""
        if not reason:
            return ""
        return str(self._numbers.setdefault(reason, len(self._numbers) + 1))

    def lines(self) -> list[Text]:
        """Return a line a reason."""
        return [
            plain(f"{number}: {reason}") for reason, number in self._numbers.items()
        ]
