"""What CONTRIBUTING.md asks of lines, as far as it can be read from the syntax tree."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMPREHENSION = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
DOCUMENTED = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
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


def density(sources):
    """Return the mean number of statements and expressions in a line of code."""
    nodes = lines = 0
    for source in sources:
        tree = ast.parse(source)
        code = {
            number
            for number, line in enumerate(source.splitlines(), 1)
            if line.strip() and not line.lstrip().startswith("#")
        }
        for node in ast.walk(tree):
            nodes += isinstance(node, ast.stmt | ast.expr)
            if isinstance(node, DOCUMENTED) and ast.get_docstring(node) is not None:
                text = node.body[0]
                code.difference_update(range(text.lineno, text.end_lineno + 1))
        lines += len(code)
    return nodes / lines


def test_the_density_is_of_statements_and_expressions_in_lines_of_code():
    source = '"""A text."""\n\n# why\nx = 1\ny = [\n    x,\n]\n'
    # Two statements of two and three expressions, and the text, on four lines.
    assert density([source]) == 9 / 4


@pytest.mark.parametrize("folder", ["app", "convpress", "worker/engine"])
def test_a_line_of_code_holds_five_statements_and_expressions_at_most(folder):
    paths = [path for path in MODULES if path.is_relative_to(ROOT / folder)]
    assert density(path.read_text() for path in paths) <= 5
