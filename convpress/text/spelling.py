"""The nearest known word to one that nobody knows."""

from collections.abc import Iterable
from difflib import SequenceMatcher

# Below this share of equal letters, two words have little to do with each other.
_LEAST_SIMILARITY = 0.6
# SequenceMatcher takes quadratic time.
_LONGEST_WORD = 80


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that is most similar to `word`; None where none is similar.

    A word of several parts is as similar as each of its parts. Of equally similar words the first
    one counts.

    >>> nearest("budget", ["model", "flops_budget", "bytes_budget"])
    'flops_budget'
    >>> nearest("colour", ["model", "flops_budget"]) is None
    True
    """
    lower = word[:_LONGEST_WORD].lower().replace("-", "_")
    similarities = {each: _similarity(lower, each.lower()) for each in known}
    best = max(similarities, key=lambda each: similarities[each], default=None)
    if best is None or similarities[best] < _LEAST_SIMILARITY:
        return None
    return best


def _similarity(word: str, known: str) -> float:
    if word in known.split("_"):
        return 1.0
    return SequenceMatcher(None, word, known).ratio()


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return the end of a message that names the nearest known word; empty where none is similar.

    >>> did_you_mean("calibrations", ["calibration", "samples"])
    ': did you mean calibration?'
    """
    best = nearest(word, known)
    return "" if best is None else f": did you mean {best}?"
