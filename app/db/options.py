"""Job options as columns of the table `jobs`; each kind of budget has a column of its own."""

from dataclasses import asdict, fields
from typing import Any

from convpress.budgets import KINDS
from convpress.options import JobOptions

_NAMES = tuple(each.name for each in fields(JobOptions) if each.name != "budgets")


def options_of(row: Any) -> JobOptions:  # noqa: ANN401 - a `Job`, or a row that was read without the ORM
    """Return the options that a row of the table asks for."""
    budgets = {name: getattr(row, name) for name in KINDS}
    members = {name: getattr(row, name) for name in _NAMES}
    return JobOptions({name: text for name, text in budgets.items() if text}, **members)


def columns_of(options: JobOptions) -> dict[str, Any]:
    """Return the columns of options; the column of a budget that is not asked for is empty."""
    columns = asdict(options)
    budgets = columns.pop("budgets")
    return {**dict.fromkeys(KINDS, ""), **budgets, **columns}
