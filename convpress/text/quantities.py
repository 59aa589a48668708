"""Counts, sizes, shares and times as people read them, alike on the terminal and in the browser."""

_DECIMAL = (("T", 10**12), ("G", 10**9), ("M", 10**6), ("k", 10**3))
_BINARY = (("TiB", 1024**4), ("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024))


def amount(number: float) -> str:
    """Return a count in about three digits.

    >>> amount(15470264320), amount(812), amount(14205888)
    ('15.5 G', '812', '14.2 M')
    """
    for name, scale in _DECIMAL:
        if number >= scale:
            return f"{_three(number / scale)} {name}"
    return f"{number:g}"


def size(number: float) -> str:
    """Return a number of bytes.

    >>> size(224818), size(12), size(3 * 1024**3)
    ('220 KiB', '12 B', '3.00 GiB')
    """
    for name, scale in _BINARY:
        if number >= scale:
            return f"{_three(number / scale)} {name}"
    return f"{number:g} B"


def percent(fraction: float) -> str:
    """Return a fraction in percent.

    >>> percent(0.49888), percent(0.0009), percent(0.0), percent(1.0)
    ('49.9 %', '0.09 %', '0 %', '100 %')
    """
    hundredths = 100 * fraction
    if hundredths in (0, 100):
        return f"{hundredths:.0f} %"
    if hundredths < 1:
        return f"{hundredths:.2f} %"
    return f"{hundredths:.1f} %"


def milliseconds(spent: float) -> str:
    """Return the latency of a run.

    >>> milliseconds(0.07021), milliseconds(1523.2)
    ('0.0702 ms', '1523 ms')
    """
    return f"{spent:.0f} ms" if spent >= 100 else f"{spent:.3g} ms"


def about(spent: float) -> str:
    """Return a rough duration: whole minutes, or whole tens of seconds below one.

    >>> about(43.2), about(70), about(5000), about(0.5)
    ('40 s', '1 min', '1 h 23 min', '10 s')
    """
    if spent < 55:
        return f"{max(10 * round(spent / 10), 10)} s"
    minutes = round(spent / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _three(number: float) -> str:
    """Return a number below 1000 in three digits."""
    if number < 10:
        return f"{number:.2f}"
    if number < 100:
        return f"{number:.1f}"
    return f"{number:.0f}"
