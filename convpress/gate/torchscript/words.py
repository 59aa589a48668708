"""The words of TorchScript source, cut as torch's own lexer cuts them.

Source: torch/csrc/jit/frontend/lexer.h.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from convpress.gate.refusals import damaged, over_limit, unsafe
from convpress.limits import Limits

# torch reads numbers with strtod, which ends where a name begins: a number that a letter, a digit
# or a dot follows would hide the word after it. Texts are matched without backtracking, for which a
# long one would take a hundred times its size.
_WORD = re.compile(
    r"""
    (?P<blank> [ \t\r\f\v]+ )
    | (?P<newline> \n )
    | (?P<type> \#[ ]type: )
    | (?P<skip> \\\n | \#[^\n]* )
    | (?P<text> \"\"\"(?:\\.|(?!\"\"\")[^\\])*+\"\"\" | '''(?:\\.|(?!''')[^\\])*+'''
        | "(?:\\.|[^\\\n"])*+" | '(?:\\.|[^\\\n'])*+' )
    | (?P<name> [A-Za-z_][A-Za-z0-9_]* )
    | (?P<number> (?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?j?(?![A-Za-z0-9_.]) )
    | (?P<mark> -> | [^\s"'\\0-9] )
    """,
    re.VERBOSE | re.DOTALL,
)


class Word(NamedTuple):
    """A word, and the line that it is in.

    `indent` is the number of blanks before the first word of a line, and -1 for other words.
    """

    kind: str
    text: str
    line: int
    indent: int = -1

    def is_mark(self, marks: tuple[str, ...]) -> bool:
        """Return whether it is one of these marks, not a text or a name."""
        return self.kind == "mark" and self.text in marks


def words(name: str, text: str, limits: Limits) -> Iterator[Word]:
    r"""Yield the words of a source file.

    Raises:
        Refusal: `model_invalid` for text that is no source, `model_unsafe` for a type in a comment,
            `model_over_limit` for many lines without a word.

    >>> [word.text for word in words("code/a.py", "x = 1.5  # half\n", Limits())]
    ['x', '=', '1.5']
    """
    position = 0
    line = 1
    indent = 0
    # torch's lexer recurses for every end of a line that is followed by no word.
    wordless = 0
    while position < len(text):
        match = _WORD.match(text, position)
        if match is None or match.lastgroup is None:
            raise damaged(f"{name} is no TorchScript source in line {line}")
        kind = match.lastgroup
        if kind == "type":
            raise unsafe(
                f"{name} declares a type in a comment in line {line}",
                "types after the names, as in `x: int`",
            )
        if kind == "newline":
            indent = 0
            wordless += 1
        elif kind == "skip":
            wordless += 1
        elif kind == "blank":
            indent = _indented(indent, match[0])
        else:
            yield Word(kind, match[0], line, indent)
            indent = -1
            wordless = 0
        if wordless > limits.depth:
            raise over_limit(
                f"{name} has many lines without a word before line {line}",
                f"at most {limits.depth}",
            )
        line += match[0].count("\n")
        position = match.end()


def _indented(indent: int, blanks: str) -> int:
    """Return the indentation after blanks; those behind a word change nothing."""
    return indent + len(blanks) if indent >= 0 else indent
