"""The advice on a model: a row a way to compress it."""

from rich.console import Group

from convpress.report.advice import Advice
from convpress.text.quantities import milliseconds, percent, size
from worker.cli.render.tables import milliseconds_text, new_table, plain


def advice(advice: Advice) -> Group:
    """Return one row a way to compress the model, and the advice."""
    table = new_table(
        "way",
        *(
            (name, "right")
            for name in ("FLOPs kept", "file", "ms", "time kept", "error")
        ),
        *((name, "right") for name in ("expected loss", "risk")),
    )
    original = (size(advice.bytes), milliseconds(advice.milliseconds))
    table.add_row("as it is", "", *original, "", "", "", "")
    for each in advice.options:
        if each.refusal is not None:
            table.add_row(each.name, plain(each.refusal), "", "", "", "", "", "")
            continue
        table.add_row(
            each.name,
            "" if each.keep is None else percent(each.keep),
            "" if each.bytes is None else size(each.bytes),
            milliseconds_text(each.milliseconds),
            "" if each.time_kept is None else percent(each.time_kept),
            "" if each.relative_error is None else percent(each.relative_error),
            "" if each.expected_loss is None else percent(each.expected_loss.expected),
            each.risk or "",
        )
    return Group(table, plain(advice.text))
