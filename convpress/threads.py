"""The threads that original and artifact are timed on."""

from convpress.refusal import Code, Refusal

FIELD = "threads"
MOST = 64


def parse_threads(text: str | None) -> int | None:
    """Read a number of threads; no text means one.

    Raises:
        Refusal: `threads_invalid`.

    >>> parse_threads(" 4 "), parse_threads("")
    (4, None)
    """
    number = (text or "").strip()
    if not number:
        return None
    is_count = number.isascii() and number.isdigit() and len(number) <= len(str(MOST))
    if is_count and 1 <= int(number) <= MOST:
        return int(number)
    raise Refusal(
        Code.THREADS_INVALID,
        "models cannot be timed on this number of threads",
        field=FIELD,
        expected=f"a whole number from 1 to {MOST}",
        got=number,
    )
