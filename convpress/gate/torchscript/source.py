"""TorchScript source: how deep it is, and which operators a network may name in it.

Anything after a dot can become an operator: `torch.save`, `ops.aten.save`, `x.save(...)` and
`getattr(x, "save")` are the same call. So every name is checked in every place. The parser, which
would give it a meaning, is never needed.

Source: torch/csrc/jit/serialization/import_source.cpp.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise

from convpress.gate.refusals import damaged, over_limit, unsafe, unsupported
from convpress.gate.torchscript import references
from convpress.gate.torchscript.depth import CLOSE, OPEN, depths
from convpress.gate.torchscript.operators import ATEN, CRASHING, PRIM, TORCHVISION
from convpress.gate.torchscript.words import Word, words
from convpress.limits import Limits
from convpress.refusal import Refusal

# No attribute or method may have these names, even where a model declares one: as operators they
# reach files, memory, processes or other machines, or crash.
_OUTSIDE = CRASHING | frozenset(
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
_METHODS = frozenset({"__init__", "__new__", "__enter__", "__exit__", "tolist"})
_MOBILE = frozenset({"prepacked", "metal_prepack", "vulkan_prepack", "metal", "vulkan"})
_ROOTS = frozenset({"torch", "ops"})
_TYPES = frozenset(
    {"Tensor", "device", "dtype", "Device", "Generator", "Stream", "layout"}
)
_OPERATORS = {"aten": ATEN, "prim": PRIM, "torchvision": TORCHVISION}
_DOT = (".",)
_PLAIN_TEXT = re.compile(r"""(["'])([A-Za-z0-9_.-]*)\1""")

_COMPUTING = "operators that compute"


# Stands before the first token and after the last one.
_NOTHING = Word("mark", "", 0)


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
    files: dict[str, list[Word]] = {}
    remaining = limits.source_tokens
    for name, text in sources.items():
        files[name] = list(islice(words(name, text, limits), remaining + 1))
        remaining -= len(files[name])
        if remaining < 0:
            raise over_limit(
                "the archive's source has too many words",
                f"at most {limits.source_tokens}",
            )
    # A method may be called before the file that defines it.
    methods: set[str] = set()
    for tokens in files.values():
        methods |= _defined(tokens)
    for name, tokens in files.items():
        _SourceFile(name, tokens, methods).require_safe(limits)
    chain = references.deepest(files)
    if chain > limits.depth:
        raise over_limit(
            f"the archive's classes and functions use each other {chain} deep",
            f"at most {limits.depth}",
        )


def require_safe_type(text: str, name: str, limits: Limits) -> None:
    """Require the name of a type, as the pickle of member `name` has it, to be shallow and safe.

    Raises:
        Refusal: the codes of `require_safe_source`.
    """
    tokens = list(words(f"a type in {name}", text, limits))
    _SourceFile(f"a type in {name}", tokens, set()).require_safe(limits)


def _defined(tokens: Sequence[Word]) -> set[str]:
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
    tokens: Sequence[Word]
    methods: set[str]

    def require_safe(self, limits: Limits) -> None:
        """Require balanced brackets, bounded depth, and safe names.

        Raises:
            Refusal: the codes of `require_safe_source`.
        """
        closings = self._closings(limits)
        for depth, line in depths(self.tokens):
            if depth > limits.depth:
                raise _deep(
                    f"{self.name} is {depth} levels deep in line {line}", limits.depth
                )
        for index, token in enumerate(self.tokens):
            if token.kind == "name":
                self._require_safe_name(index)
            if token.text == "getattr":
                self._require_safe_getattr(index, closings)

    def _closings(self, limits: Limits) -> Mapping[int, int]:
        """Return, for each opening bracket, the index of the bracket that closes it.

        Raises:
            Refusal: `model_invalid` for a bracket without the other, `model_over_limit`.
        """
        closings: dict[int, int] = {}
        is_open: list[int] = []
        for index, token in enumerate(self.tokens):
            if token.is_mark(OPEN):
                is_open.append(index)
            elif token.is_mark(CLOSE):
                if not is_open:
                    raise damaged(self._at(index, "closes a bracket that is not open"))
                closings[is_open.pop()] = index
            if len(is_open) > limits.nesting:
                raise _deep(self._at(index, "nests expressions deeply"), limits.nesting)
        if is_open:
            raise damaged(self._at(is_open[-1], "opens a bracket that is not closed"))
        return closings

    def _token(self, index: int) -> Word:
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
                self._at(index, f"uses {name} as a value"),
                "operators by their full names",
            )
        elif name in _NO_CALLS and is_called:
            raise unsafe(self._at(index, f"calls {name}"), _COMPUTING)

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
        if of_ops and owner.text in _OPERATORS:
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
        if namespace in _MOBILE:
            raise unsupported(
                f"{detail}, an operator for mobile devices",
                "the model from before optimize_for_mobile",
            )
        if name not in _OPERATORS.get(namespace, frozenset[str]()):
            raise _unknown(detail)

    def _is_own(self, index: int) -> bool:
        """Return whether a dotted name that ends at `index` is the archive's own.

        Such a name begins with `__torch__`.
        """
        while index >= 2:
            has_owner = (
                self.tokens[index - 1].text == "."
                and self.tokens[index - 2].kind == "name"
            )
            if not has_owner:
                break
            index -= 2
        return self.tokens[index].text == "__torch__"

    def _require_safe_getattr(self, index: int, closings: Mapping[int, int]) -> None:
        """Require `getattr(OBJECT, "NAME")` to have a plain and safe name."""
        # The name is the last argument.
        end = closings.get(index + 1, index + 1)
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


def _deep(detail: str, most: int) -> Refusal:
    return over_limit(detail, f"at most {most} levels")


def _unknown(detail: str) -> Refusal:
    if "mkldnn" in detail.lower():
        # optimize_for_inference writes them
        return unsupported(
            f"{detail}, an operator for one kind of processor",
            "the model from before optimize_for_inference",
        )
    return unsupported(
        f"{detail}, which is not a supported operator",
        "the operators of plain torch that compute",
    )
