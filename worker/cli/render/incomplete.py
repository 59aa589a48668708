"""What an account leaves out or cannot know, and of which model it is."""

from rich.text import Text

from convpress.report import Inspection, Report
from worker.cli.render.tables import plain

_MOST_LINES = 10


def restored(account: Report | Inspection) -> list[Text]:
    """Return the line on a quantised model whose floats were restored; none for others."""
    return [plain(account.restored)] if account.restored else []


def sized_by_values(account: Report | Inspection) -> list[Text]:
    """Return the lines on layers whose rows values decide; none where shapes decide all."""
    sized = account.sized_by_values
    if sized is None:
        return []
    shown = sized.layers[:_MOST_LINES]
    names = ", ".join(shown)
    if len(sized.layers) > _MOST_LINES:
        names += f" and {len(sized.layers) - _MOST_LINES} more"
    return [plain(sized.text), plain(f"  {names}")]


def incomplete(account: Report | Inspection) -> list[Text]:
    """Return the lines on the operators that an account leaves out; none where it is complete."""
    if account.account_complete:
        return []
    number = len(account.unaccounted)
    operators = "operator" if number == 1 else "operators"
    lines = [
        f"The account is INCOMPLETE: it leaves out {number} {operators} of unknown cost."
    ]
    shown = account.unaccounted[:_MOST_LINES]
    lines.extend(f"  {each.operator} {each.name}: {each.reason}" for each in shown)
    if number > _MOST_LINES:
        lines.append(f"  and {number - _MOST_LINES} more")
    return [plain(line) for line in lines]
