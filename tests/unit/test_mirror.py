"""A module with logic has a test at its own path, where a reader looks for what it promises."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "tests" / "unit"
PACKAGES = ("app", "convpress", "worker")

MOST_STATEMENTS = 10
"""A function of more statements has logic, also without a branch."""
BRANCH = (
    ast.If
    | ast.IfExp
    | ast.For
    | ast.AsyncFor
    | ast.While
    | ast.Try
    | ast.Match
    | ast.ListComp
    | ast.SetComp
    | ast.DictComp
    | ast.GeneratorExp
)


def has_logic(source):
    functions = [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    return any(map(is_logic, functions))


def is_logic(function):
    nodes = [node for node in ast.walk(function) if node is not function]
    statements = [node for node in nodes if isinstance(node, ast.stmt)]
    has_branch = any(isinstance(node, BRANCH) for node in nodes)
    return has_branch or len(statements) > MOST_STATEMENTS


def path_of_test(module):
    """Return the path of a module's test; a package's own code has it within its folder."""
    folder = module.parent
    name = folder.name if module.stem == "__init__" else module.stem.strip("_")
    return UNIT / folder.relative_to(ROOT) / f"test_{name}.py"


def modules_without_test():
    modules = [path for name in PACKAGES for path in (ROOT / name).rglob("*.py")]
    assert len(modules) > 400
    return {
        str(path.relative_to(ROOT))
        for path in modules
        if not path_of_test(path).exists() and has_logic(path.read_text())
    }


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("LIMIT = 1 if DEBUG else 2", False),
        ("class Record:\n    x: int\n    y = [1 for _ in z]", False),
        ("def f(x):\n    y = g(x)\n    return y", False),
        ("def f(x):\n    return 1 if x else 2", True),
        ("class A:\n    async def f(self):\n        return [x for x in y]", True),
        ("def f():\n" + "    g()\n" * MOST_STATEMENTS, False),
        ("def f():\n" + "    g()\n" * (MOST_STATEMENTS + 1), True),
    ],
)
def test_the_check_sees_logic(source, expected):
    assert has_logic(source) is expected


def test_every_module_with_logic_has_a_test_at_its_own_path():
    assert modules_without_test() == set()
