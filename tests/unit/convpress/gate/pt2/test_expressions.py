"""Expressions over sizes: all that sympy prints of arithmetic passes, and nothing else."""

import random
import time

import pytest
import sympy
from sympy.printing.repr import srepr
from torch.utils._sympy import functions as torch_functions

from convpress.gate.pt2.expressions import expression
from convpress.limits import Limits
from convpress.refusal import Refusal

CHECK = expression(Limits())
SIZES = sympy.symbols("s0 s77 u1", positive=True, integer=True)


def refusal_of(text):
    with pytest.raises(Refusal) as refusal:
        CHECK(text, "models/model.json")
    assert len(refusal.value.detail) < 400
    return str(refusal.value.code)


def random_expression(chance, depth=0):
    kind = chance.randrange(9) if depth < 3 else chance.randrange(2)
    if kind == 0:
        return chance.choice(SIZES)
    if kind == 1:
        return sympy.Integer(chance.randrange(-5, 100))
    left, right = (random_expression(chance, depth + 1) for _ in range(2))
    makers = {
        2: lambda: left + right,
        3: lambda: left * right,
        4: lambda: torch_functions.FloorDiv(left, chance.choice(SIZES)),
        5: lambda: torch_functions.PythonMod(left, chance.choice(SIZES)),
        6: lambda: sympy.Max(left, right),
        7: lambda: left**2,
        8: lambda: torch_functions.IntTrueDiv(left, chance.choice(SIZES)),
    }
    return makers[kind]()


def test_what_sympy_prints_passes():
    chance = random.Random(0)
    for _ in range(200):
        value = random_expression(chance)
        CHECK(srepr(value), "place")


@pytest.mark.parametrize(
    "value",
    [
        sympy.Eq(SIZES[0], 3),
        sympy.Ne(SIZES[0], SIZES[1]),
        sympy.And(SIZES[0] > 3, SIZES[1] <= 4),
        sympy.Not(sympy.Or(SIZES[0] < 3, SIZES[1] >= 4)),
        sympy.true,
        sympy.Float(0.5),
        sympy.Rational(1, 3) * SIZES[0],
        torch_functions.ToFloat(SIZES[0]),
    ],
    ids=str,
)
def test_comparisons_and_real_numbers_pass(value):
    CHECK(srepr(value), "place")


@pytest.mark.parametrize(
    "text", ["s0", "2*s0 + 1", "(s0 - 3)//2", "-s0 % 8", "Max(1, s0) <= 4", "s0**2"]
)
def test_what_people_write_passes(text):
    CHECK(text, "place")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "__import__('os')",
        "open('a', 'w')",
        "s0.args",
        "s0[0]",
        "s0 if s0 else 1",
        "lambda: s0",
        "s0\n+1",
        "x",
        "Symbol",
        "Symbol()",
        "Symbol('os')",
        "Symbol('s0', commutative=True)",
        "Symbol('s0', integer=open)",
        "Symbol('s0'",
        "Symbol('s0'))",
        "Integer('s0')",
        "Integer()",
        "Function('f')(s0)",
        "Pow(Integer(2), s0)",
        "2**s0",
        "2**3**4",
        "Float('1', precision=54)",
        "Float('1.5.2', precision=53)",
        "s99999999",
        "12345678901234567890",
        "s0 s1",
        "s0 +",
        "f'{s0}'",
        "s0 := 1",
        "{s0}",
        "0x10",
        "1_000",
        "s\u0661",
    ],
)
def test_all_else_is_unsafe(text):
    assert refusal_of(text) == "model_unsafe"


@pytest.mark.parametrize(
    "text",
    [
        "2**33",
        "Pow(Integer(2), Integer(-33))",
        "Pow(Pow(s0, Integer(6)), Integer(6))",
        "*".join(["s0"] * 33),
        "(" * 33 + "s0" + ")" * 33,
        "+".join(["s0"] * 1001),
        "-" * 2001 + "1",
    ],
)
def test_giants_are_over_a_limit(text):
    assert refusal_of(text) == "model_over_limit"


def test_products_up_to_the_limit_pass():
    CHECK("*".join(["s0"] * 32), "place")
    CHECK("(" * 31 + "s0" + ")" * 31, "place")
    CHECK("Pow(s0, Integer(32))", "place")


@pytest.mark.parametrize("value", [None, 3, ["s0"], {"a": 1}, "s0+" * 10_000])
def test_other_values_are_invalid(value):
    assert refusal_of(value) == "model_invalid"


def test_no_text_takes_long():
    started = time.process_time()
    for text in (
        "(" * 20_000,
        "Max(" * 5000,
        " " * 20_000,
        "s0**" * 4000,
        "'" * 20_000,
    ):
        refusal_of(text)
    assert time.process_time() - started < 1
