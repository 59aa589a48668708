"""Expressions over sizes, which torch hands to `sympy.sympify`: it evaluates any Python in them.

The exporter writes them as sympy prints them: `Mul(Integer(2), Symbol('s0', integer=True))` for
sizes, and `2*s0` for the names of ranges. The grammar has both, and bounds what they compute:
words, depth, and the degree, which bounds how large a number they can make.
"""

import re
from collections.abc import Callable
from typing import NamedTuple

from convpress.gate.pt2.json_text import Json
from convpress.gate.pt2.schema import Place, brief, shown, text
from convpress.gate.refusals import over_limit, unsafe
from convpress.limits import Limits

_LONGEST = 20_000
_MOST_WORDS = 2_000
# sympy and torch recurse into operands.
_DEEPEST = 32
# The power of the largest number: sizes have 63 bits, so that results have some 2,000.
_LARGEST_DEGREE = 32
_WORD = re.compile(
    r" *(?:(?P<number>[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]{1,3})?)|(?P<name>[A-Za-z_][A-Za-z0-9_]*)"
    r"|(?P<text>'[A-Za-z0-9_.+-]*')|(?P<mark>\*\*|//|<=|>=|==|!=|[-+*/%<>(),=&|~]))"
)
_LONGEST_NUMBER = 19
# torch names symbols by their kind: sizes, sizes from data, and real numbers of both.
SYMBOL = re.compile(r"(s|u|zf|zuf|ps)[0-9]{1,6}(_[0-9]{1,6})?")
_TEXT_OF_NUMBER = re.compile(r"'-?[0-9]{1,30}(\.[0-9]{0,60})?(e[+-]?[0-9]{1,3})?'")
_CONSTANTS = frozenset({"true", "false", "True", "False", "oo", "int_oo"})
_ASSUMPTIONS = frozenset(
    {
        "integer",
        "positive",
        "nonnegative",
        "negative",
        "nonzero",
        "real",
        "finite",
        "zero",
    }
)
# The result has the power of the largest operand.
_LARGEST = frozenset(
    """
    Add Max Min Abs ToFloat CeilToInt FloorToInt TruncToFloat TruncToInt RoundToInt Identity
    ceiling floor Where
    Equality Unequality StrictLessThan LessThan StrictGreaterThan GreaterThan Eq Ne Lt Le Gt Ge
    And Or Not
    """.split()  # noqa: SIM905 - a list of quoted words is no easier to read
)
# Products have the sum of the powers, and so have quotients, to be simple.
_SUM = frozenset(
    """
    Mul FloorDiv ModularIndexing PythonMod Mod CleanDiv CeilDiv IntTrueDiv FloatTrueDiv Rational
    """.split()  # noqa: SIM905 - as above
)
_POWER = frozenset({"Pow", "PowByNatural"})
_COMPARISONS = ("<", "<=", ">", ">=", "==", "!=", "&", "|")
_EXPECTED = (
    "symbols, whole numbers, arithmetic and comparisons, as torch.export writes them"
)
_is_text = text(_LONGEST)


class _Word(NamedTuple):
    kind: str
    text: str


class _Value(NamedTuple):
    """A part of an expression: the power of its size, and its number where it is just that."""

    degree: int
    number: int | None = None


def expression(limits: Limits) -> Callable[[Json, Place], None]:
    """Return a check for an expression over sizes.

    The check raises:
        Refusal: `model_unsafe` for anything beyond the grammar, `model_over_limit` for an
            expression that is too long, too deep or of too high a power.
    """
    deepest = min(_DEEPEST, limits.nesting)

    def check(value: Json, place: Place) -> None:
        _is_text(value, place)
        _Parser(value, place, deepest).parse()

    return check


class _Parser:
    """A reader of one expression, by recursive descent of bounded depth."""

    def __init__(self, source: str, place: Place, deepest: int) -> None:
        self.source = source
        self.place = place
        self.deepest = deepest
        self.depth = 0
        self.words = self._split()
        self.position = 0

    def parse(self) -> None:
        """Read the whole expression.

        Raises:
            Refusal: it is none, or exceeds a bound.
        """
        self._comparison()
        if self.position < len(self.words):
            raise self._refusal()

    def _split(self) -> list[_Word]:
        words = []
        end = 0
        source = self.source.rstrip(" ")
        while end < len(source):
            match = _WORD.match(source, end)
            if match is None or match.lastgroup is None:
                raise self._refusal()
            words.append(_Word(match.lastgroup, match[match.lastgroup]))
            end = match.end()
            if len(words) > _MOST_WORDS:
                raise over_limit(
                    f"{shown(self.place)} is an expression of too many words",
                    f"at most {_MOST_WORDS} words",
                )
        return words

    def _refusal(self) -> Exception:
        return unsafe(
            f"{shown(self.place)} is the expression {brief(self.source)}", _EXPECTED
        )

    def _peek(self) -> str:
        """Return the next mark; empty where a name, a number or the end follows."""
        if self.position == len(self.words) or self.words[self.position].kind != "mark":
            return ""
        return self.words[self.position].text

    def _next(self) -> _Word:
        if self.position == len(self.words):
            raise self._refusal()
        word = self.words[self.position]
        self.position += 1
        return word

    def _take(self, mark: str) -> None:
        if self._next() != ("mark", mark):
            raise self._refusal()

    def _value(self, degree: int, number: int | None = None) -> _Value:
        if degree > _LARGEST_DEGREE:
            raise over_limit(
                f"{shown(self.place)} is an expression of a power above {_LARGEST_DEGREE}",
                f"at most the power {_LARGEST_DEGREE} of a size",
            )
        return _Value(degree, number)

    def _comparison(self) -> _Value:
        self.depth += 1
        if self.depth > self.deepest:
            raise over_limit(
                f"{shown(self.place)} is an expression that nests too deep",
                f"at most {self.deepest} brackets",
            )
        value = self._sum()
        while self._peek() in _COMPARISONS:
            self.position += 1
            value = self._value(max(value.degree, self._sum().degree))
        self.depth -= 1
        return value

    def _sum(self) -> _Value:
        value = self._product()
        while self._peek() in ("+", "-"):
            self.position += 1
            value = self._value(max(value.degree, self._product().degree))
        return value

    def _product(self) -> _Value:
        value = self._signed()
        while self._peek() in ("*", "/", "//", "%"):
            self.position += 1
            value = self._value(value.degree + self._signed().degree)
        return value

    def _signed(self) -> _Value:
        # Signs may follow each other, without a bracket that counts as depth.
        sign = 1
        is_signed = False
        while self._peek() in ("-", "+", "~"):
            sign *= -1 if self._next().text == "-" else 1
            is_signed = True
        value = self._power()
        if not is_signed or value.number is None:
            return value
        return _Value(value.degree, sign * value.number)

    def _power(self) -> _Value:
        value = self._atom()
        if self._peek() != "**":
            return value
        self.position += 1
        # A power of a power would be read by recursion.
        sign = 1
        if self._peek() == "-":
            sign = -1
            self.position += 1
        exponent = self._atom()
        if exponent.number is not None:
            exponent = _Value(1, sign * exponent.number)
        return self._raised(value, exponent)

    def _raised(self, base: _Value, exponent: _Value) -> _Value:
        if exponent.number is None:
            raise self._refusal()
        if self._peek() == "**":
            raise self._refusal()
        return self._value(base.degree * max(1, abs(exponent.number)))

    def _atom(self) -> _Value:
        word = self._next()
        if word == ("mark", "("):
            value = self._comparison()
            self._take(")")
            return value
        if word.kind == "number":
            if len(word.text) > _LONGEST_NUMBER:
                raise self._refusal()
            return _Value(1, int(word.text) if word.text.isdigit() else None)
        if word.kind != "name":
            raise self._refusal()
        if self._peek() == "(":
            return self._call(word.text)
        if word.text not in _CONSTANTS and not SYMBOL.fullmatch(word.text):
            raise self._refusal()
        return _Value(1)

    def _call(self, name: str) -> _Value:
        self._take("(")
        if name == "Symbol":
            return self._symbol()
        if name == "Float":
            return self._float()
        operands = self._operands()
        degrees = [operand.degree for operand in operands]
        if name in _POWER and len(operands) == 2:
            return self._raised(*operands)
        if name == "Integer" and len(operands) == 1 and operands[0].number is not None:
            return operands[0]
        if name in _LARGEST and operands:
            return self._value(max(degrees))
        if name in _SUM and operands:
            return self._value(sum(degrees))
        raise self._refusal()

    def _operands(self) -> list[_Value]:
        operands = []
        while True:
            operands.append(self._comparison())
            if self._peek() != ",":
                self._take(")")
                return operands
            self.position += 1

    def _symbol(self) -> _Value:
        """Read the rest of `Symbol('s0', integer=True)`."""
        name = self._next()
        if name.kind != "text" or not SYMBOL.fullmatch(name.text[1:-1]):
            raise self._refusal()
        while self._peek() == ",":
            self.position += 1
            assumption = self._next()
            self._take("=")
            truth = self._next()
            is_known = assumption.text in _ASSUMPTIONS and truth.text in (
                "True",
                "False",
            )
            if not is_known:
                raise self._refusal()
        self._take(")")
        return _Value(1)

    def _float(self) -> _Value:
        """Read the rest of `Float('0.5', precision=53)`."""
        number = self._next()
        if number.kind != "text" or not _TEXT_OF_NUMBER.fullmatch(number.text):
            raise self._refusal()
        for word in (
            ("mark", ","),
            ("name", "precision"),
            ("mark", "="),
            ("number", "53"),
        ):
            if self._next() != word:
                raise self._refusal()
        self._take(")")
        return _Value(1)
