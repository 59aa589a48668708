"""Values of an ONNX graph whose sizes other values decide."""

import pytest
from onnx import parser

from worker.engine.formats.onnx.profile.value_sizes import value_sizes


def sized(body, output="y"):
    """Return whether values decide the sizes of a graph's output."""
    text = f"g (float[n, 8] x, int64[k] sizes) => (float[m, 8] y) {{ {body} }}"
    return output in value_sizes(parser.parse_graph(text)).sizes


@pytest.mark.parametrize(
    "body",
    [
        "i = NonZero(x) y = Gather(x, i)",
        "i = Unique(x) y = Gather(x, i)",
        "z = Cast <to = 9> (x) y = Compress(x, z)",
        "y = Reshape(x, sizes)",
        "y = Expand(x, sizes)",
        "y = Tile(x, sizes)",
        "r = Range(sizes, sizes, sizes) y = Gather(x, r)",
        "v, i = TopK(x, sizes) y = Gather(x, i)",
        "i = NonZero(x) s = Shape(i) y = ConstantOfShape(s)",
        "i = NonZero(x) s = Size(i) a = Abs(s) y = Slice(x, a, a)",
        "b = Cast <to = 9> (sizes) y = If (b) <then_branch = g () => (float[a] p) "
        "{ p = Relu(x) }, else_branch = g () => (float[b] q) { q = Flatten(x) }>",
    ],
)
def test_sizes_that_follow_from_values_are_known(body):
    assert sized(body)


@pytest.mark.parametrize(
    "body",
    [
        "s = Shape(x) y = Reshape(x, s)",
        "s = Shape(x) d = Gather(s, s) y = Expand(x, d)",
        "one = Constant <value = int64[1] {1}> () y = Tile(x, one)",
        "y = Relu(x)",
        "y = ArgMax(x)",
    ],
)
def test_sizes_that_follow_from_shapes_are_none_of_values(body):
    assert not sized(body)


def test_values_that_are_stated_decide_as_shapes_do():
    text = "g (float[n] x, int64[2] s) => (float[m] y) { y = Reshape(x, s) }"
    graph = parser.parse_graph(text)
    assert value_sizes(graph).sizes == {"y"}
    assert value_sizes(graph, {"s"}).sizes == set()


LOOP = (
    "t = Constant <value = bool {{1}}> () s = Shape(x) i = NonZero(x) r = Size(i) "
    "y = Loop (LIMIT, t, x) <body = b (int64 k, bool c, float[n, 8] h) => "
    "(bool c2, float[n, 8] h2) {{ c2 = Identity(CONDITION) h2 = Relu(h) }}>"
)


@pytest.mark.parametrize(
    ("limit", "condition", "depends"),
    [
        ("s", "c", False),
        ("r", "c", True),
        ("sizes", "c", True),
        ("s", "t", False),
        ("s", "x", True),
        ("s", "h", True),
    ],
)
def test_the_runs_of_a_body_follow_from_its_limit_and_its_condition(
    limit, condition, depends
):
    body = LOOP.format().replace("LIMIT", limit).replace("CONDITION", condition)
    text = f"g (float[n, 8] x, int64[k] sizes) => (float[m, 8] y) {{ {body} }}"
    assert ("y" in value_sizes(parser.parse_graph(text)).loops) is depends


def test_what_a_body_gives_to_its_next_run_is_known():
    """The carried number is constant in the first run, and a value of `x` from the second on."""
    body = (
        "t = Constant <value = bool {1}> () n = Constant <value = int64[1] {2}> () "
        "r = Cast <to = 7> (x) last, y = Loop (n, t, n) <body = b (int64 k, bool c, int64[1] h) "
        "=> (bool c2, int64[1] h2, float[a, b] row) "
        "{ c2 = Identity(c) h2 = ReduceMax(r) row = Tile(x, h) }>"
    )
    assert sized(body, "row")


def test_bodies_in_bodies_are_walked_a_few_times_in_all():
    """A walk that began each body anew would take 2 to the power of the depth."""
    inner = "p30 = Relu(x)"
    for depth in reversed(range(30)):
        inner = (
            f"p{depth} = If (c) <then_branch = g{depth} () => (float[a] p{depth + 1}) "
            f"{{ {inner} }}, else_branch = e{depth} () => (float[a] q{depth}) "
            f"{{ q{depth} = Neg(x) }}>"
        )
    text = f"g (float[n] x, bool c) => (float[n] p0) {{ {inner} }}"
    assert value_sizes(parser.parse_graph(text)).sizes
