"""The names of a program: torch writes them into Python source, which it compiles.

`torch.fx` makes a function of the graph. Values, arguments and attributes stand in its source under
the names of the file, so a name that is no name would be code.
"""

import keyword
import re

from convpress.gate.pt2.json_text import Json
from convpress.gate.pt2.schema import Place, brief, shown, text
from convpress.gate.refusals import unsafe

_LONGEST = 1000
_is_text = text(_LONGEST)
_VARIABLES = "names as of Python's variables"
# A part of an attribute's path; torch writes parts that are no identifiers between quotes.
_PART = re.compile(r"[^\W_][\w +:/@-]*|_(?!_)[\w +:/@-]*")
# What no quotes and no escapes are in: torch writes some texts between quotes.
_PLAIN = re.compile(r"[^'\"\\\x00-\x1f\x7f]*")


def identifier(value: Json, place: Place) -> None:
    """Require a name that Python takes for a variable."""
    _is_text(value, place)
    if not value.isidentifier() or keyword.iskeyword(value):
        raise unsafe(
            f"{shown(place)} has the name {brief(value)}",
            "names as of Python's variables",
        )


def argument(value: Json, place: Place) -> None:
    """Require the name of an operator's argument; it is empty for some, and may be a keyword."""
    _is_text(value, place)
    if value and not value.isidentifier():
        raise unsafe(
            f"{shown(place)} has the name {brief(value)}",
            "names as of Python's variables",
        )


def path(value: Json, place: Place) -> None:
    """Require the path of a parameter, buffer or module: names with dots between them."""
    _is_text(value, place)
    for part in value.split("."):
        if not _PART.fullmatch(part):
            raise unsafe(
                f"{shown(place)} has the path {brief(value)}",
                "names of attributes with dots between them",
            )


def module_path(value: Json, place: Place) -> None:
    """Require the path of a module; that of the whole network is empty."""
    if value != "":
        # A module that is called twice is called `name@1` the second time.
        path(value, place)


def plain_text(value: Json, place: Place) -> None:
    """Require a text without quotes, backslashes and controls."""
    _is_text(value, place)
    if not _PLAIN.fullmatch(value):
        raise unsafe(
            f"{shown(place)} is the text {brief(value)}",
            "texts without quotes and backslashes",
        )
