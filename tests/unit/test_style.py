"""What CONTRIBUTING.md asks of lines, as far as it can be read from the syntax tree."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMPREHENSION = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
PARTICIPLES = {"found", "given", "wanted", "taken", "told", "said", "made"}

MODULES = [
    path
    for name in ("app", "convpress", "worker")
    for path in (ROOT / name).rglob("*.py")
]


def contains(node, kind):
    return any(isinstance(inner, kind) for inner in ast.walk(node) if inner is not node)


def fault(node):
    if isinstance(node, ast.IfExp) and contains(node, ast.IfExp):
        return "a conditional expression within another"
    if isinstance(node, COMPREHENSION):
        if len(node.generators) > 1:
            return "a comprehension with two loops"
        if contains(node, COMPREHENSION):
            return "a comprehension within another"
    if (
        isinstance(node, ast.Name)
        and isinstance(node.ctx, ast.Store)
        and node.id in PARTICIPLES
    ):
        return f"a variable called {node.id}: a noun says what it is"
    return None


def faults(source):
    nodes = ast.walk(ast.parse(source))
    return [f"line {node.lineno}: {text}" for node in nodes if (text := fault(node))]


@pytest.mark.parametrize(
    "source",
    [
        "size = 1 if a else 2 if b else 3",
        "pairs = [(x, y) for x in a for y in b]",
        "rows = [[y for y in x] for x in a]",
        "found = 1",
    ],
)
def test_the_check_sees(source):
    assert len(faults(source)) == 1


def test_lines_of_the_product_are_simple():
    modules = {
        str(path.relative_to(ROOT)): faults(path.read_text()) for path in MODULES
    }
    assert len(modules) > 300
    assert {path: texts for path, texts in modules.items() if texts} == {}
