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

ENGINE_WITHOUT = {
    "worker/engine/__main__.py",
    "worker/engine/calibration/fitting_images.py",
    "worker/engine/calibration/inputs/mixture.py",
    "worker/engine/costs/block.py",
    "worker/engine/costs/int8_prices.py",
    "worker/engine/costs/int8_stopwatch.py",
    "worker/engine/costs/onnx_stopwatch.py",
    "worker/engine/costs/packing.py",
    "worker/engine/costs/processor.py",
    "worker/engine/costs/torch_stopwatch.py",
    "worker/engine/decompose/applicability.py",
    "worker/engine/decompose/spatial.py",
    "worker/engine/decompose/tucker2.py",
    "worker/engine/decompose/two_layers.py",
    "worker/engine/formats/aten/counting_rules.py",
    "worker/engine/formats/aten/errors.py",
    "worker/engine/formats/aten/layers.py",
    "worker/engine/formats/aten/norms.py",
    "worker/engine/formats/aten/other_uses.py",
    "worker/engine/formats/aten/outputs.py",
    "worker/engine/formats/aten/sites.py",
    "worker/engine/formats/aten/tally.py",
    "worker/engine/formats/aten/trace.py",
    "worker/engine/formats/onnx/floats.py",
    "worker/engine/formats/onnx/graph.py",
    "worker/engine/formats/onnx/int8/layers.py",
    "worker/engine/formats/onnx/int8/prepare.py",
    "worker/engine/formats/onnx/int8/quantise.py",
    "worker/engine/formats/onnx/int8/ranges.py",
    "worker/engine/formats/onnx/operators/activations.py",
    "worker/engine/formats/onnx/operators/arithmetic.py",
    "worker/engine/formats/onnx/operators/indexing.py",
    "worker/engine/formats/onnx/operators/layers.py",
    "worker/engine/formats/onnx/operators/norms.py",
    "worker/engine/formats/onnx/operators/operator.py",
    "worker/engine/formats/onnx/operators/pads.py",
    "worker/engine/formats/onnx/operators/pools.py",
    "worker/engine/formats/onnx/operators/reductions.py",
    "worker/engine/formats/onnx/operators/reshaping.py",
    "worker/engine/formats/onnx/profile/contrib_macs.py",
    "worker/engine/formats/onnx/profile/counting_rule.py",
    "worker/engine/formats/onnx/profile/graph_uses.py",
    "worker/engine/formats/onnx/profile/node_site.py",
    "worker/engine/formats/onnx/profile/node_use.py",
    "worker/engine/formats/onnx/profile/operand_shapes.py",
    "worker/engine/formats/onnx/profile/without_products.py",
    "worker/engine/formats/onnx/runtime/session.py",
    "worker/engine/formats/onnx/scalars.py",
    "worker/engine/formats/onnx/shapes.py",
    "worker/engine/formats/onnx/storage/wire.py",
    "worker/engine/formats/onnx/types.py",
    "worker/engine/formats/pt2/blocks.py",
    "worker/engine/formats/pt2/execute.py",
    "worker/engine/formats/pt2/graph.py",
    "worker/engine/formats/pt2/layers.py",
    "worker/engine/formats/pt2/profile.py",
    "worker/engine/formats/pt2/rewrite.py",
    "worker/engine/formats/pt2/runner.py",
    "worker/engine/formats/pt2/shared_memory.py",
    "worker/engine/formats/pt2/training.py",
    "worker/engine/formats/torchscript/channels.py",
    "worker/engine/formats/torchscript/method.py",
    "worker/engine/formats/torchscript/operators.py",
    "worker/engine/formats/torchscript/preparation/identities.py",
    "worker/engine/formats/torchscript/preparation/prepare.py",
    "worker/engine/formats/torchscript/preparation/split_sizes.py",
    "worker/engine/formats/torchscript/program/shared_memory.py",
    "worker/engine/numerics/moments.py",
    "worker/engine/report.py",
    "worker/engine/request.py",
    "worker/engine/selection/analysis.py",
    "worker/engine/selection/candidate_costs.py",
    "worker/engine/selection/candidates.py",
    "worker/engine/selection/channels/coupling.py",
    "worker/engine/selection/channels/enumeration.py",
    "worker/engine/selection/file_overhead.py",
    "worker/engine/selection/input_statistics.py",
    "worker/engine/selection/least_kept.py",
    "worker/engine/selection/replacements.py",
    "worker/engine/selection/units/base.py",
    "worker/engine/selection/units/bytes.py",
    "worker/engine/selection/units/nanoseconds.py",
    "worker/engine/selection/unreachable.py",
    "worker/engine/stages/int8_plan.py",
    "worker/engine/stages/opening.py",
    "worker/engine/stages/reporting.py",
}
"""Modules of the engine that have no test at their path yet."""


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
    name = folder.name if module.stem == "__init__" else module.stem
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
    assert modules_without_test() == ENGINE_WITHOUT
