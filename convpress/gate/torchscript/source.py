"""TorchScript source, read as torch's own lexer reads it and held against the operators that a network may name.

Whatever follows a dot can become an operator: `torch.save`, `ops.aten.save`, `x.save(...)` and `getattr(x, "save")` are
the same call. So every name is judged, wherever it stands; the parser that would give it a meaning is never needed.

Source: torch/csrc/jit/frontend/lexer.h, torch/csrc/jit/serialization/import_source.cpp.
"""

import re
from collections.abc import Iterator, Mapping
from itertools import islice, pairwise

from convpress.gate.archive import invalid, over_limit, unsafe
from convpress.gate.torchscript.operators import ATEN, PRIM
from convpress.limits import Limits
from convpress.refusal import Code, Refusal

_TOKEN = re.compile(
    r"""
    (?P<skip> [ \t\r\f\v\n] | \\\n | \#[^\n]* )
    | (?P<text> \"\"\"(?:\\.|[^\\])*?\"\"\" | '''(?:\\.|[^\\])*?'''
        | "(?:\\.|[^\\\n"])*" | '(?:\\.|[^\\\n'])*' )
    | (?P<name> [A-Za-z_][A-Za-z0-9_]* )
    | (?P<number> [0-9][0-9A-Za-z_]*(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?j? | \.[0-9]+(?:[eE][+-]?[0-9]+)?j? )
    | (?P<mark> -> | [^\s"'\\] )
    """,
    re.VERBOSE | re.DOTALL,
)
_OUTSIDE = frozenset(
    {"save", "from_file", "set_", "set_data", "resize_", "resize_as_", "unsafe_set"}
    | {
        "rpc_sync",
        "rpc_async",
        "rpc_remote",
        "backward",
        "classes",
        "serialization",
        "distributed",
        "multiprocessing",
    }
)
"""Names that no attribute or method has, though a model declares one: as operators they reach outside the graph."""
_STATE_HOOKS = frozenset({"__setstate__", "__getstate__"})
_NO_CALLS = frozenset(
    {
        "fork",
        "awaitable",
        "wait",
        "rpc_sync",
        "rpc_async",
        "rpc_remote",
        "exec",
        "eval",
        "open",
        "input",
    }
)
_METHODS = frozenset({"__init__", "__new__", "__enter__", "__exit__"})
_ROOTS = frozenset({"torch", "ops"})
_TYPES = frozenset({"Tensor", "device", "dtype", "Device", "Generator", "Stream", "layout"})
_OPEN, _CLOSE = "([{", ")]}"
_UNARY = frozenset({"-", "~", "not", "+", "*", "if", "else", "elif", "lambda", "await"})


def check(sources: Mapping[str, str], limits: Limits) -> None:
    r"""Check the source files of an archive, by member name.

    Raises:
        Refusal: `model_unsafe` for code that runs when the file is loaded and for names that reach outside,
            `model_unsupported` for operators that are not known here, `model_invalid` for what is no source,
            `model_over_limit` for what is nested too deeply.

    >>> check({"code/a.py": "def forward(self, x: Tensor) -> Tensor:\n  return torch.relu(x)"}, Limits())
    >>> check({"code/a.py": "def forward(self, x: Tensor):\n  torch . save(x, 'f')"}, Limits())
    Traceback (most recent call last):
    ...
    convpress.refusal.Refusal: code/a.py names torch.save in line 2
    """
    files: dict[str, list[_Token]] = {}
    left = limits.source_tokens
    for name, text in sources.items():
        files[name] = list(islice(_tokens(name, text), left + 1))
        left -= len(files[name])
        if left < 0:
            raise over_limit(
                "the archive's source has too many words", f"at most {limits.source_tokens}"
            )
    own = {
        after.text
        for tokens in files.values()
        for before, after in pairwise(tokens)
        if before.text == "def" and before.kind == after.kind == "name"
    }
    for name, tokens in files.items():
        _check(name, tokens, own, limits)


class _Token:
    __slots__ = ("kind", "line", "text")

    def __init__(self, kind: str, text: str, line: int) -> None:
        self.kind, self.text, self.line = kind, text, line


_END = _Token("mark", "", 0)


def _tokens(name: str, text: str) -> Iterator[_Token]:
    position, line = 0, 1
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None or match.lastgroup is None:
            raise invalid(f"{name} is no TorchScript source in line {line}")
        if match.lastgroup != "skip":
            yield _Token(match.lastgroup, match[0], line)
        line += match[0].count("\n")
        position = match.end()


def _check(file: str, tokens: list[_Token], own: set[str], limits: Limits) -> None:
    brackets: list[int] = []
    prefixes = 0
    for index, token in enumerate(tokens):
        before = tokens[index - 1] if index else _END
        after = tokens[index + 1] if index + 1 < len(tokens) else _END
        where = f"{file} {{}} in line {token.line}"
        if token.text in _OPEN and token.kind == "mark":
            brackets.append(index)
        elif token.text in _CLOSE and token.kind == "mark":
            if not brackets:
                raise invalid(where.format("closes a bracket that is not open"))
            brackets.pop()
        prefixes = (
            prefixes + 1 if token.text in _UNARY else 0 if token.line != before.line else prefixes
        )
        if len(brackets) > limits.nesting or prefixes > 4 * limits.nesting:
            raise over_limit(
                where.format("nests expressions deeply"), f"at most {limits.nesting} levels"
            )
        if token.kind != "name":
            continue
        if token.text in _STATE_HOOKS:
            raise unsafe(
                where.format(f"defines or calls {token.text}, which runs when the file is loaded"),
                "no such method",
            )
        if before.text == "." and before.kind == "mark":
            _attribute(where, tokens, index, own, called=after.text == "(")
        elif before.text == "def":
            if token.text in _OUTSIDE:
                raise unsafe(
                    where.format(f"defines a method {token.text}"),
                    "names that no operator of torch's has",
                )
        elif token.text in _ROOTS and after.text != ".":
            raise unsafe(
                where.format(f"uses {token.text} as a value"), "operators by their full names"
            )
        elif token.text in _NO_CALLS and after.text == "(":
            raise unsafe(where.format(f"calls {token.text}"), "operators that compute")
        elif token.text == "getattr":
            _getattr(where, tokens, index)


def _attribute(
    where: str, tokens: list[_Token], index: int, own: set[str], *, called: bool
) -> None:
    """Judge a name that follows a dot by what stands before it."""
    name = tokens[index].text
    if index < 2:
        raise invalid(where.format("begins with a dot"))
    owner = tokens[index - 2]
    further = index >= 4 and tokens[index - 3].text == "."
    if owner.kind == "name" and owner.text in _ROOTS and not further:
        shown = f"{owner.text}.{name}"
        if owner.text == "ops":
            _operator(where, tokens, index)
        elif name in _OUTSIDE:
            raise unsafe(where.format(f"names {shown}"), "operators that compute")
        elif name not in ATEN and name not in _TYPES:
            raise _unknown(where.format(f"names {shown}"))
    elif further and tokens[index - 4].text == "ops" and owner.text in ("aten", "prim"):
        return  # judged with its namespace
    elif name in _OUTSIDE:
        raise unsafe(where.format(f"names .{name}"), "operators that compute")
    elif (
        called
        and name not in own
        and name not in ATEN
        and name not in _METHODS
        and not _is_own(tokens, index)
    ):
        raise _unknown(where.format(f"calls .{name}"))


def _operator(where: str, tokens: list[_Token], index: int) -> None:
    """Judge `ops.NAMESPACE.NAME`, whose namespace stands at `index`."""
    namespace = tokens[index].text
    dot, name = (tokens[index + step].text if index + step < len(tokens) else "" for step in (1, 2))
    known = {"aten": ATEN, "prim": PRIM}.get(namespace, frozenset[str]())
    if dot != "." or name in _OUTSIDE:
        raise unsafe(where.format(f"names ops.{namespace}.{name}"), "operators that compute")
    if name not in known:
        raise _unknown(where.format(f"names ops.{namespace}.{name}"))


def _is_own(tokens: list[_Token], index: int) -> bool:
    """Whether the dotted name that ends at `index` begins with `__torch__`, and so is the archive's own."""
    while index >= 2 and tokens[index - 1].text == "." and tokens[index - 2].kind == "name":
        index -= 2
    return tokens[index].text == "__torch__"


def _getattr(where: str, tokens: list[_Token], index: int) -> None:
    """Judge `getattr(OBJECT, "NAME")`, which is another way to write a dot."""
    depth = 0
    for end in range(index + 1, len(tokens)):
        depth += (
            (tokens[end].text in _OPEN) - (tokens[end].text in _CLOSE)
            if tokens[end].kind == "mark"
            else 0
        )
        if depth == 0:
            break
    else:
        end = index
    given = tokens[end - 1]
    plain = (
        re.fullmatch(r"""(["'])([A-Za-z0-9_.-]*)\1""", given.text) if given.kind == "text" else None
    )
    if plain is None or tokens[end - 2].text != ",":
        raise unsafe(
            where.format("gets an attribute whose name is not plainly written"), "plain names"
        )
    if plain[2] in _OUTSIDE or plain[2] in _STATE_HOOKS:
        raise unsafe(where.format(f"gets the attribute {plain[2]}"), "operators that compute")


def _unknown(detail: str) -> Refusal:
    return Refusal(
        Code.MODEL_UNSUPPORTED,
        f"{detail}, which is no operator that this service lets a model use",
        field="model",
        expected="the operators of plain torch that compute",
    )
