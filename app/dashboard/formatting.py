"""Numbers, sizes and times as people read them; the templates use these functions as filters."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from convpress import max_loss
from convpress.budgets import FLOPS, KINDS
from convpress.evaluation import kind_of
from convpress.labels import written_labels
from convpress.text.quantities import about, amount, milliseconds, percent, size


def budgets(texts: Mapping[str, str]) -> str:
    """Return the budgets of a job, by field, in one line; a budget of FLOPs is not named.

    A job in int8 alone has none.

    >>> budgets({"max_loss": "1%", "bytes_budget": "2MB"})
    'loss 1%, file size 2MB'
    >>> budgets({"flops_budget": "50%"}), budgets({"flops_budget": "50%", "bytes_budget": "2MB"})
    ('50%', '50%, file size 2MB')
    """
    return ", ".join(_budget(field, text) for field, text in texts.items()) or "none"


def _budget(field: str, text: str) -> str:
    if field == max_loss.FIELD:
        return f"loss {text}"
    return text if field == FLOPS.field else f"{KINDS[field].quantity} {text}"


def capital(text: str) -> str:
    """Return a text with a capital first letter.

    >>> capital("file size"), capital("FLOPs")
    ('File size', 'FLOPs')
    """
    return text[:1].upper() + text[1:]


def budget_label(field: str) -> str:
    """Return the label of a budget's field.

    >>> budget_label("flops_budget"), budget_label("latency_budget")
    ('Budget of FLOPs', 'Budget of time')
    """
    return (
        "Largest loss"
        if field == max_loss.FIELD
        else f"Budget of {KINDS[field].quantity}"
    )


def change(before: float, after: float) -> str:
    r"""Return the relative change; nothing where `before` is next to 0.

    >>> change(100, 47) == "\N{MINUS SIGN}53 %", change(100, 130), change(0, 5)
    (True, '+30 %', '')
    """
    if before < 1e-9:
        return ""
    hundredths = round(100 * (after / before - 1))
    if hundredths > 0:
        return f"+{hundredths} %"
    return f"{hundredths} %".replace("-", "\N{MINUS SIGN}")


def seconds(spent: float) -> str:
    """Return a duration.

    >>> seconds(0.063), seconds(12.34), seconds(3725)
    ('63 ms', '12.3 s', '1 h 2 min')
    """
    if spent < 1:
        return f"{1000 * spent:.0f} ms"
    if spent < 60:
        return f"{spent:.1f} s"
    if spent < 3600:
        return f"{int(spent // 60)} min {int(spent % 60)} s"
    return f"{int(spent // 3600)} h {int(spent % 3600 // 60)} min"


def shape(sizes: Sequence[int] | int | None) -> str:
    """Return the sizes of a shape, or one rank.

    >>> shape([32, 1, 3, 3]), shape(20), shape(None)
    ('32x1x3x3', '20', '')
    """
    if sizes is None:
        return ""
    if isinstance(sizes, int):
        return str(sizes)
    return "x".join(map(str, sizes))


def utc(at: datetime) -> str:
    """Return a time in UTC; the pages' script replaces it with the viewer's local time."""
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"


def risk(level: str) -> str:
    """Return the label of a risk level.

    >>> risk("low"), risk("unknown")
    ('Low risk', 'Risk unknown')
    """
    return "Risk unknown" if level == "unknown" else f"{level.capitalize()} risk"


def figure(value: float, name: str) -> str:
    """Return the figure of a metric, or a loss of it, with its unit.

    >>> figure(0.8126, "top-1")
    '81.26 %'
    """
    return kind_of(name).text(value)


def metric(name: str) -> str:
    """Return the label of a metric.

    >>> metric("psnr"), metric("risk")
    ('PSNR', 'risk')
    """
    return kind_of(name).label


FILTERS: Mapping[str, Callable[..., str]] = {
    function.__name__: function
    for function in (
        amount,
        size,
        percent,
        change,
        seconds,
        about,
        milliseconds,
        shape,
        utc,
        risk,
        budgets,
        budget_label,
        capital,
        figure,
        written_labels,
        metric,
    )
}
