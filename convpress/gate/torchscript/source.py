"""TorchScript source: its words, and which operators a network may name in it.

Anything after a dot can become an operator: `torch.save`, `ops.aten.save`, `x.save(...)` and
`getattr(x, "save")` are the same call. So every name is checked in every place. The parser, which
would give it a meaning, is never needed.

Source: torch/csrc/jit/frontend/lexer.h, torch/csrc/jit/serialization/import_source.cpp.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import NamedTuple

from convpress.gate.refusals import damaged, over_limit, unsafe, unsupported
from convpress.gate.torchscript.operators import ATEN, PRIM
from convpress.limits import Limits
from convpress.refusal import Refusal

_TOKEN = re.compile(
    r"""
    (?P<skip> [ \t\r\f\v\n] | \\\n | \#[^\n]* )
    | (?P<text> \"\"\"(?:\\.|[^\\])*?\"\"\" | '''(?:\\.|[^\\])*?'''
        | "(?:\\.|[^\\\n"])*" | '(?:\\.|[^\\\n'])*' )
    | (?P<name> [A-Za-z_][A-Za-z0-9_]* )
    | (?P<number> [0-9][0-9A-Za-z_]*(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?j?
        | \.[0-9]+(?:[eE][+-]?[0-9]+)?j? )
    | (?P<mark> -> | [^\s"'\\] )
    """,
    re.VERBOSE | re.DOTALL,
)

# No attribute or method may have these names, even where a model declares one: as operators they
# reach files, memory, processes or other machines.
_OUTSIDE = frozenset(
    {
        "save",
        "from_file",
        "set_",
        "set_data",
        "resize_",
        "resize_as_",
        "unsafe_set",
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
_OPEN = ("(", "[", "{")
_CLOSE = (")", "]", "}")
_DOT = (".",)
_PREFIXES = frozenset({"-", "~", "not", "+", "*", "if", "else", "elif", "lambda", "await"})
_PLAIN_TEXT = re.compile(r"""(["'])([A-Za-z0-9_.-]*)\1""")

_COMPUTING = "operators that compute"


class _Token(NamedTuple):
    kind: str
    text: str
    line: int

    def is_mark(self, marks: tuple[str, ...]) -> bool:
        """Return whether it is one of these marks, not a text or a name."""
        return self.kind == "mark" and self.text in marks


# Stands before the first token and after the last one.
_NOTHING = _Token("mark", "", 0)


def require_safe_source(sources: Mapping[str, str], limits: Limits) -> None:
    r"""Require source files, by member name, that call nothing but operators of networks.

    Raises:
        Refusal: `model_unsafe` for code that runs when the file is loaded and for names that reach
            outside of the model, `model_unsupported` for unknown operators, `model_invalid` for
            text that is no source, `model_over_limit` for deep nesting.

    >>> safe = "def forward(self, x: Tensor) -> Tensor:\n  return torch.relu(x)"
    >>> require_safe_source({"code/a.py": safe}, Limits())
    >>> unsafe = "def forward(self, x: Tensor):\n  torch . save(x, 'f')"
    >>> require_safe_source({"code/a.py": unsafe}, Limits())
    Traceback (most recent call last):
    ...
    convpress.refusal.Refusal: code/a.py names torch.save in line 2
    """
    files: dict[str, list[_Token]] = {}
    remaining = limits.source_tokens
    for name, text in sources.items():
        files[name] = list(islice(_tokens(name, text), remaining + 1))
        remaining -= len(files[name])
        if remaining < 0:
            raise over_limit(
                "the archive's source has too many words", f"at most {limits.source_tokens}"
            )
    # A method may be called before the file that defines it.
    methods: set[str] = set()
    for tokens in files.values():
        methods |= _defined(tokens)
    for name, tokens in files.items():
        _SourceFile(name, tokens, methods).require_safe(limits)


def _tokens(name: str, text: str) -> Iterator[_Token]:
    position = 0
    line = 1
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None or match.lastgroup is None:
            raise damaged(f"{name} is no TorchScript source in line {line}")
        if match.lastgroup != "skip":
            yield _Token(match.lastgroup, match[0], line)
        line += match[0].count("\n")
        position = match.end()


def _defined(tokens: Sequence[_Token]) -> set[str]:
    """Return the names of the methods that a file defines."""
    names = set()
    for before, after in pairwise(tokens):
        if before.text == "def" and before.kind == after.kind == "name":
            names.add(after.text)
    return names


@dataclass(frozen=True)
class _SourceFile:
    """The words of a source file, and the methods that all files of the archive define."""

    name: str
    tokens: Sequence[_Token]
    methods: set[str]

    def require_safe(self, limits: Limits) -> None:
        depth = 0
        prefixes = 0
        for index, token in enumerate(self.tokens):
            if token.is_mark(_OPEN):
                depth += 1
            elif token.is_mark(_CLOSE):
                if depth == 0:
                    raise damaged(self._at(index, "closes a bracket that is not open"))
                depth -= 1
            # The parser recurses for each prefix of an expression too.
            if token.text in _PREFIXES:
                prefixes += 1
            elif token.line != self._token(index - 1).line:
                prefixes = 0
            if depth > limits.nesting or prefixes > 4 * limits.nesting:
                raise over_limit(
                    self._at(index, "nests expressions deeply"), f"at most {limits.nesting} levels"
                )
            if token.kind == "name":
                self._require_safe_name(index)

    def _token(self, index: int) -> _Token:
        if 0 <= index < len(self.tokens):
            return self.tokens[index]
        return _NOTHING

    def _at(self, index: int, action: str) -> str:
        """Return the detail of a refusal: file, action and line."""
        return f"{self.name} {action} in line {self.tokens[index].line}"

    def _require_safe_name(self, index: int) -> None:
        name = self.tokens[index].text
        before = self._token(index - 1)
        is_called = self._token(index + 1).text == "("
        # torch calls these when it loads the archive, before anything is checked further.
        if name in _STATE_HOOKS:
            detail = f"defines or calls {name}, which runs when the file is loaded"
            raise unsafe(self._at(index, detail), "no such method")
        if before.is_mark(_DOT):
            self._require_safe_attribute(index, is_called=is_called)
        elif before.text == "def":
            if name in _OUTSIDE:
                raise unsafe(
                    self._at(index, f"defines a method {name}"),
                    "names that no operator of torch's has",
                )
        elif name in _ROOTS and self._token(index + 1).text != ".":
            # Under another name its operators could not be recognised.
            raise unsafe(
                self._at(index, f"uses {name} as a value"), "operators by their full names"
            )
        elif name in _NO_CALLS and is_called:
            raise unsafe(self._at(index, f"calls {name}"), _COMPUTING)
        elif name == "getattr":
            self._require_safe_getattr(index)

    def _require_safe_attribute(self, index: int, *, is_called: bool) -> None:
        """Require a name after a dot that is safe after the name before the dot."""
        if index < 2:
            raise damaged(self._at(index, "begins with a dot"))
        name = self.tokens[index].text
        owner = self.tokens[index - 2]
        has_namespace = index >= 4 and self.tokens[index - 3].text == "."
        if owner.kind == "name" and owner.text in _ROOTS and not has_namespace:
            if owner.text == "ops":
                self._require_safe_operator(index)
            else:
                self._require_safe_of_torch(index)
            return
        of_ops = has_namespace and self.tokens[index - 4].text == "ops"
        if of_ops and owner.text in ("aten", "prim"):
            # `ops.aten.NAME` was checked with its namespace.
            return
        if name in _OUTSIDE:
            raise unsafe(self._at(index, f"names .{name}"), _COMPUTING)
        is_known = name in self.methods or name in ATEN or name in _METHODS
        if is_called and not is_known and not self._is_own(index):
            raise _unknown(self._at(index, f"calls .{name}"))

    def _require_safe_of_torch(self, index: int) -> None:
        """Require `torch.NAME`, whose name is at `index`, to be an operator or a type."""
        name = self.tokens[index].text
        detail = self._at(index, f"names torch.{name}")
        if name in _OUTSIDE:
            raise unsafe(detail, _COMPUTING)
        if name not in ATEN and name not in _TYPES:
            raise _unknown(detail)

    def _require_safe_operator(self, index: int) -> None:
        """Require `ops.NAMESPACE.NAME`, whose namespace is at `index`, to be an operator."""
        namespace = self.tokens[index].text
        dot = self._token(index + 1).text
        name = self._token(index + 2).text
        detail = self._at(index, f"names ops.{namespace}.{name}")
        if dot != "." or name in _OUTSIDE:
            raise unsafe(detail, _COMPUTING)
        operators = {"aten": ATEN, "prim": PRIM}
        if name not in operators.get(namespace, frozenset[str]()):
            raise _unknown(detail)

    def _is_own(self, index: int) -> bool:
        """Return whether a dotted name that ends at `index` is the archive's own.

        Such a name begins with `__torch__`.
        """
        while index >= 2:
            has_owner = self.tokens[index - 1].text == "." and self.tokens[index - 2].kind == "name"
            if not has_owner:
                break
            index -= 2
        return self.tokens[index].text == "__torch__"

    def _require_safe_getattr(self, index: int) -> None:
        """Require `getattr(OBJECT, "NAME")` to have a plain and safe name."""
        # The name is the last argument.
        end = self._closing(index + 1)
        text = self.tokens[end - 1]
        plain = _PLAIN_TEXT.fullmatch(text.text) if text.kind == "text" else None
        if plain is None or self.tokens[end - 2].text != ",":
            raise unsafe(
                self._at(index, "gets an attribute whose name is not plainly written"),
                "plain names",
            )
        name = plain[2]
        if name in _OUTSIDE or name in _STATE_HOOKS:
            raise unsafe(self._at(index, f"gets the attribute {name}"), _COMPUTING)

    def _closing(self, index: int) -> int:
        """Return the index of the bracket that closes the one at `index`.

        It is `index` itself where that is no bracket, and the index before it where it stays open.
        """
        depth = 0
        for position in range(index, len(self.tokens)):
            token = self.tokens[position]
            if token.is_mark(_OPEN):
                depth += 1
            elif token.is_mark(_CLOSE):
                depth -= 1
            if depth == 0:
                return position
        return index - 1


def _unknown(detail: str) -> Refusal:
    return unsupported(
        f"{detail}, which is not a supported operator",
        "the operators of plain torch that compute",
    )
