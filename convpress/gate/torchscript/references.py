"""The classes and functions of an archive, and how deep they refer to each other.

torch reads a class when it reads the first use of it, and compiles a method when it compiles the
first call of it, both by recursion: it ends by a stack overflow at 2,000 methods that each call the
next.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from convpress.gate.torchscript.words import Word

_CODE = "code/"
_SUFFIX = ".py"
# The names of all classes and functions begin so.
_ROOT = "__torch__"
_DEFINE = ("def", "class")


@dataclass
class _Definition:
    """A class or function: the names that it uses, and the methods that call each other."""

    uses: set[str] = field(default_factory=set)
    methods: dict[str, set[str]] = field(default_factory=dict)


def deepest(files: Mapping[str, Sequence[Word]]) -> int:
    """Return the number of definitions and methods on the longest way from one to the next.

    Definitions that refer to each other in a circle count as a way through all of them.
    """
    definitions: dict[str, _Definition] = {}
    for name, words in files.items():
        for index in _definition_indices(words):
            definitions[_full_name(name, words[index])] = _Definition()
    for name, words in files.items():
        _read(name, words, definitions)
    sizes = {
        name: max(
            1, _longest_way(definition.methods, dict.fromkeys(definition.methods, 1))
        )
        for name, definition in definitions.items()
    }
    return _longest_way({name: each.uses for name, each in definitions.items()}, sizes)


def _definition_indices(words: Sequence[Word]) -> Iterator[int]:
    """Yield the indices of the names of a file's classes and functions, without methods."""
    for index, (before, word) in enumerate(pairwise(words), start=1):
        # torch takes the first line's indentation for that of the file.
        is_outermost = before.indent == words[0].indent
        if is_outermost and before.text in _DEFINE and word.kind == "name":
            yield index


def _full_name(file: str, name: Word) -> str:
    module = file.removeprefix(_CODE).removesuffix(_SUFFIX).replace("/", ".")
    return f"{module}.{name.text}"


def _read(
    file: str, words: Sequence[Word], definitions: Mapping[str, _Definition]
) -> None:
    """Note what the definitions of a file use: other definitions, and their own methods."""
    outermost = set(_definition_indices(words))
    definition = _Definition()
    method: set[str] = set()
    for index, (before, word) in enumerate(pairwise(words), start=1):
        if word.kind != "name":
            continue
        if index in outermost:
            definition = definitions[_full_name(file, word)]
            method = set()
        elif before.text in _DEFINE:
            method = definition.methods.setdefault(word.text, set())
        elif word.text == _ROOT:
            definition.uses.update(
                name for name in _names(words, index) if name in definitions
            )
        elif before.text == ".":
            method.add(word.text)


def _names(words: Sequence[Word], index: int) -> Iterator[str]:
    """Yield the dotted name that begins at `index`, and its beginnings: one may be a class's."""
    name = words[index].text
    while index + 2 < len(words) and words[index + 1].text == ".":
        index += 2
        name = f"{name}.{words[index].text}"
        yield name


def _longest_way(edges: Mapping[str, set[str]], sizes: Mapping[str, int]) -> int:
    """Return the largest sum of sizes on a way along the edges; a circle counts as one node."""
    longest: dict[str, int] = {}
    for circle in _circles(edges):
        below = 0
        for node in circle:
            below = max(below, *(longest.get(other, 0) for other in edges[node]), 0)
        total = below + sum(sizes[node] for node in circle)
        longest.update(dict.fromkeys(circle, total))
    return max(longest.values(), default=0)


def _circles(edges: Mapping[str, set[str]]) -> Iterator[list[str]]:
    """Yield the sets of nodes that reach each other, each after all that it leads to.

    Source: Tarjan, 1972, with a stack in place of recursion: a file must not decide how deep Python
    recurses.
    """
    order: dict[str, int] = {}
    lowest: dict[str, int] = {}
    pending: list[str] = []
    places: dict[str, int] = {}
    done: set[str] = set()
    stack: list[tuple[str, Iterator[str]]] = []

    def visit(node: str) -> None:
        order[node] = lowest[node] = len(order)
        places[node] = len(pending)
        pending.append(node)
        stack.append((node, iter(edges[node])))

    for root in edges:
        if root not in order:
            visit(root)
        while stack:
            node, others = stack[-1]
            other = next(
                (each for each in others if each in edges and each not in done), None
            )
            if other is not None and other not in order:
                visit(other)
            elif other is not None:
                lowest[node] = min(lowest[node], order[other])
            else:
                stack.pop()
                if stack:
                    caller = stack[-1][0]
                    lowest[caller] = min(lowest[caller], lowest[node])
                if lowest[node] == order[node]:
                    circle = pending[places[node] :]
                    del pending[places[node] :]
                    done.update(circle)
                    yield circle
