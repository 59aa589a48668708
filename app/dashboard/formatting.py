"""Numbers, times and problems as people read them."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from convpress import budgets as budget
from convpress.formats import EXPORTERS, NOUNS

_SCALES = (("T", 10**12), ("G", 10**9), ("M", 10**6), ("k", 10**3))


def amount(number: float) -> str:
    """Shorten a count to three digits or so.

    >>> amount(15470264320), amount(812), amount(14205888)
    ('15.5 G', '812', '14.2 M')
    """
    for name, scale in _SCALES:
        if number >= scale:
            return f"{_three(number / scale)} {name}"
    return f"{number:g}"


def size(number: float) -> str:
    """Say how many bytes.

    >>> size(224818), size(12), size(3 * 1024**3)
    ('220 KiB', '12 B', '3.00 GiB')
    """
    for name, scale in (("TiB", 1024**4), ("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024)):
        if number >= scale:
            return f"{_three(number / scale)} {name}"
    return f"{number:g} B"


def budgets(given: Mapping[str, str]) -> str:
    """Say what is to be kept; FLOPs need not be named.

    >>> budgets({"flops_budget": "50%"}), budgets({"flops_budget": "50%", "bytes_budget": "2MB"})
    ('50%', '50%, file size 2MB')
    """
    named = [(budget.KINDS[field], text) for field, text in given.items()]
    return ", ".join(
        text if kind is budget.FLOPS else f"{kind.what} {text}" for kind, text in named
    )


def capital(text: str) -> str:
    """Write a text as a line begins.

    >>> capital("file size"), capital("FLOPs")
    ('File size', 'FLOPs')
    """
    return text[:1].upper() + text[1:]


def budget_label(field: str) -> str:
    """Name a budget's field.

    >>> budget_label("flops_budget"), budget_label("latency_budget")
    ('Budget of FLOPs', 'Budget of time')
    """
    return f"Budget of {budget.KINDS[field].what}"


def _three(number: float) -> str:
    return f"{number:.{2 if number < 10 else 1 if number < 100 else 0}f}"


def percent(fraction: float) -> str:
    """Say a fraction.

    >>> percent(0.49888), percent(0.0009), percent(0.0), percent(1.0)
    ('49.9 %', '0.09 %', '0 %', '100 %')
    """
    hundredths = 100 * fraction
    digits = 0 if hundredths in (0, 100) else 2 if hundredths < 1 else 1
    return f"{hundredths:.{digits}f} %"


def change(before: float, after: float) -> str:
    r"""Say what became less or more, unless it is of next to nothing.

    >>> change(100, 47) == "\N{MINUS SIGN}53 %", change(100, 130), change(0, 5)
    (True, '+30 %', '')
    """
    if before < 1e-9:
        return ""
    moved = round(100 * (after / before - 1))
    return f"+{moved} %" if moved > 0 else f"{moved} %".replace("-", "\N{MINUS SIGN}")


def seconds(spent: float) -> str:
    """Say how long something took.

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


def milliseconds(spent: float) -> str:
    """Say how long a run takes.

    >>> milliseconds(0.07021), milliseconds(1523.2)
    ('0.0702 ms', '1523 ms')
    """
    return f"{spent:.{0 if spent >= 100 else 3}{'f' if spent >= 100 else 'g'}} ms"


def shape(sizes: Sequence[int] | int | None) -> str:
    """Write sizes, or one rank.

    >>> shape([32, 1, 3, 3]), shape(20), shape(None)
    ('32x1x3x3', '20', '')
    """
    if sizes is None:
        return ""
    return str(sizes) if isinstance(sizes, int) else "x".join(map(str, sizes))


def utc(at: datetime) -> str:
    """Write a time for those without JavaScript; the pages' script turns it into the viewer's."""
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"


def risk(level: str) -> str:
    """Say how far an artifact may be trusted.

    >>> risk("low"), risk("unknown")
    ('Low risk', 'Risk unknown')
    """
    return "Risk unknown" if level == "unknown" else f"{level.capitalize()} risk"


FILTERS: Mapping[str, Callable[..., str]] = {
    function.__name__: function
    for function in (
        amount,
        size,
        percent,
        change,
        seconds,
        milliseconds,
        shape,
        utc,
        risk,
        budgets,
        budget_label,
        capital,
    )
}

_ADVICE: Mapping[str, str] = {
    "budget_unreachable": "Choose a larger budget; the message says the least that can be reached.",
    "budget_invalid": "Write the budget as a fraction (0.5 or 50%) or an amount (7.2G, 3.6 GMACs, 5.4M, 20MB or 12ms).",
    "input_shape_required": "TorchScript does not store its input's sizes. Give them along, such as 1x3x224x224.",
    "input_shape_mismatch": "The model does not run on these sizes. Give the sizes that it was exported for.",
    "input_shape_invalid": "Write the sizes with x between, such as 1x3x224x224.",
    "model_pickled": f"Export it first, with {EXPORTERS}: pickles are never opened.",
    "model_unrecognised": f"Upload {NOUNS}.",
    "model_truncated": "The upload is incomplete: export or copy the file again.",
    "model_invalid": "See that the file loads and runs where it was exported, and export it again.",
    "model_unsafe": "The file holds what no exported network needs, so it was not opened. Export it again, by itself.",
    "model_over_limit": "An administrator can raise the limit that the message names.",
    "model_gone": "The model has expired here. Upload it again.",
    "samples_gone": "The samples have expired here. Send them along again.",
    "file_gone": "What the job made has expired. Run it again.",
    "nothing_to_compress": "The model has no convolution or linear layer that could be made cheaper.",
    "verification_failed": "The result was not good enough to give away. Try a larger budget.",
    "out_of_memory": "Give a smaller input, or ask an administrator for more memory for a job.",
    "job_timeout": "Try calibration “none”, which takes seconds, or ask an administrator for more time for a job.",
    "worker_lost": "Its workers died. Run it again; if that repeats, tell an administrator.",
    "engine_error": "Run it again; if that repeats, it is a fault of this service: tell its maintainers.",
    "storage_full": "The disk is full. An administrator has to make room.",
    "samples_invalid": "Send .npz with an array for each input, by the input's name, samples along the first axis.",
    "scope_missing": "Sign in with a key that may do this.",
    "quota_exceeded": "Wait until jobs have ended, or delete jobs that nobody needs.",
    "rate_exceeded": "Wait a minute.",
    "job_not_found": "It may have been deleted, or it belongs to somebody else.",
    "keys_required": "Open it on the machine that runs it, or have an administrator turn keys on.",
}


def advice(code: str) -> str | None:
    """Say what to do next about a problem, where that is more than the problem says."""
    return _ADVICE.get(code)


def shown_error(error: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return a failed job's problem with what to do next."""
    if error is None:
        return None
    members = {name: error.get(name) for name in ("code", "detail", "field", "expected", "got")}
    return {**members, "advice": advice(error["code"])}
