"""The depth of a statement: its blocks, brackets and operators."""

import pytest

from convpress.gate.torchscript.depth import depths
from convpress.gate.torchscript.words import words
from convpress.limits import Limits


def depths_of(source):
    cut = list(words("code/a.py", source, Limits()))
    return [depth for depth, _ in depths(cut)]


@pytest.mark.parametrize(
    ("statement", "depth"),
    [
        ("x", 0),
        ("-x", 1),
        ("a + b - c", 2),
        ("not x", 1),
        ("f(x)", 2),
        ("f(g(x))", 4),
        # items between commas are siblings
        ("f(-a, - - b, c)", 4),
        ("[[]]", 4),
        # a bracket that is open, and one that never was
        ("((x", 4),
        ("x))", 0),
        ("'((('", 0),
    ],
)
def test_what_stands_in_a_row_counts_and_siblings_do_not(statement, depth):
    assert depths_of(statement)[-1] == depth


def test_blocks_lie_around_their_statements():
    source = "a\n  b\n    c\n  d\ne"
    assert depths_of(source)[1:] == [0, 1, 2, 1, 0]


def test_an_elif_is_a_block_within_the_one_before():
    source = "a\nelif\n  b\nelif\n  c\nelse\n  d\ne"
    plain = "a\nif\n  b\nx\n  c"
    branches = depths_of(source)
    assert branches[3] < branches[5] == branches[7]
    assert branches[-1] == 0
    assert depths_of(plain)[3] == depths_of(plain)[5] == 1


def test_a_line_within_brackets_begins_no_statement():
    assert len(depths_of("f(\n  x,\ny)\nz")) == len(depths_of("f(x, y)\nz"))
