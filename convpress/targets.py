"""Targets: the processors whose cost tables the package brings, as jobs name them."""

from convpress.refusal import Code, Refusal
from convpress.text.spelling import did_you_mean

FIELD = "target"
TARGETS = ("x86-avx512", "x86-avx2")
"""The names of the targets, of the wider vectors first."""


def parse_target(text: str | None) -> str | None:
    """Read the name of a target; no text means the host that runs the job.

    Raises:
        Refusal: `target_invalid`.

    >>> parse_target(" X86-AVX2 "), parse_target("")
    ('x86-avx2', None)
    """
    name = (text or "").strip().lower()
    if not name:
        return None
    if name in TARGETS:
        return name
    raise Refusal(
        Code.TARGET_INVALID,
        f"there is no cost table for the target {name[:80]!r}{did_you_mean(name, TARGETS)}",
        field=FIELD,
        expected=f"{' or '.join(TARGETS)}; for another device, a cost table that "
        "`convpress cost-table collect` measures on it",
        got=name,
    )
