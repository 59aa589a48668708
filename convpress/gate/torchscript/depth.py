"""The depth of TorchScript source: torch's parser and its passes recurse for every level.

torch 2.13 ends by a stack overflow at 3,000 nested lists, 5,000 prefixes and 10,000 operators in a
row, on a stack of 8 MiB. Its own exporter splits long expressions: honest models stay below 40.
"""

from collections.abc import Iterator, Sequence

from convpress.gate.torchscript.words import Word

OPEN = ("(", "[", "{")
CLOSE = (")", "]", "}")
# These words have an operand of which the parser makes a level; every mark has, too.
_KEYWORDS = frozenset(
    {
        "and",
        "or",
        "not",
        "if",
        "else",
        "elif",
        "for",
        "in",
        "is",
        "lambda",
        "await",
        "yield",
    }
)


def depths(words: Sequence[Word]) -> Iterator[tuple[int, int]]:
    """Yield the depth of each statement, in levels, with the line that it begins in.

    It is the number of blocks around the statement, and an upper bound on the depth of its
    expressions: what stands in a row counts in full, except that items between commas are siblings.
    An `elif` is a block within the one before it.
    """
    blocks = _Blocks()
    statement = _Statement()
    line = 1
    for word in words:
        begins = word.indent >= 0 and statement.is_closed
        if begins:
            yield blocks.depth + statement.depth(), line
            blocks.enter(word)
            statement = _Statement()
            line = word.line
        statement.add(word)
    yield blocks.depth + statement.depth(), line


class _Blocks:
    """The indentations of the blocks around a line, and how many `elif` each of them has so far."""

    def __init__(self) -> None:
        self._indents = [0]
        self._branches = [0]
        self.depth = 0

    def enter(self, word: Word) -> None:
        """Move to the line that begins with a word."""
        while word.indent < self._indents[-1]:
            self._indents.pop()
            self.depth -= 1 + self._branches.pop()
        if word.indent > self._indents[-1]:
            self._indents.append(word.indent)
            self._branches.append(0)
            self.depth += 1
        if word.text == "elif":
            self._branches[-1] += 1
            self.depth += 1
        elif word.text != "else":
            self.depth -= self._branches[-1]
            self._branches[-1] = 0


class _Statement:
    """The levels of a statement's expressions: one for the statement, and one for each bracket."""

    def __init__(self) -> None:
        self._levels = [_Level()]

    @property
    def is_closed(self) -> bool:
        """Whether no bracket is open."""
        return len(self._levels) == 1

    def add(self, word: Word) -> None:
        """Count a word."""
        level = self._levels[-1]
        if word.is_mark((",",)):
            level.end_item()
        elif word.is_mark(CLOSE):
            self._close()
        elif word.is_mark(OPEN):
            level.row += 1
            self._levels.append(_Level())
        elif word.kind == "mark" or word.text in _KEYWORDS:
            level.row += 1

    def depth(self) -> int:
        """Return the depth of the statement; this closes the brackets that are open."""
        while not self.is_closed:
            self._close()
        return self._levels[0].depth

    def _close(self) -> None:
        # A bracket that is not open is refused elsewhere.
        if self.is_closed:
            return
        inner = self._levels.pop()
        outer = self._levels[-1]
        outer.inner = max(outer.inner, 1 + inner.depth)


class _Level:
    """What stands between two brackets: items with commas between them.

    `row` counts the operators of the present item, and `inner` is the depth of its brackets.
    """

    __slots__ = ("_earlier", "inner", "row")

    def __init__(self) -> None:
        self.row = 0
        self.inner = 0
        self._earlier = 0

    @property
    def depth(self) -> int:
        """The depth of its deepest item so far."""
        return max(self._earlier, self.row + self.inner)

    def end_item(self) -> None:
        """Begin another item."""
        self._earlier = self.depth
        self.row = 0
        self.inner = 0
