"""The longest way from one definition to the next, through files, classes and methods."""

import pytest

from convpress.gate.torchscript.references import deepest
from convpress.gate.torchscript.words import words
from convpress.limits import Limits


def depth_of(**files):
    return deepest(
        {
            f"code/__torch__/{name}.py": list(words(name, source, Limits()))
            for name, source in files.items()
        }
    )


def function(name, *calls):
    body = "\n".join(f"  __torch__.{call}(x)" for call in calls)
    return f"def {name}(x):\n{body}\n  return x\n"


@pytest.mark.parametrize(
    ("files", "depth"),
    [
        ({}, 0),
        ({"a": function("f")}, 1),
        ({"a": function("f") + function("g")}, 1),
        ({"a": function("f", "a.g") + function("g")}, 2),
        ({"a": function("f", "b.g"), "b": function("g", "c.h"), "c": function("h")}, 3),
        # a call of what the archive does not have leads nowhere
        ({"a": function("f", "b.g")}, 1),
        # a circle counts as a way through all of it
        ({"a": function("f", "a.g") + function("g", "a.f")}, 2),
        ({"a": function("f", "a.f")}, 1),
    ],
)
def test_a_way_leads_along_the_calls(files, depth):
    assert depth_of(**files) == depth


def test_methods_that_call_each_other_lengthen_the_way_through_their_class():
    methods = "".join(f"  def m{n}(self):\n    self.m{n + 1}()\n" for n in range(4))
    source = f"class A(Module):\n{methods}{function('f', 'a.A')}"
    assert depth_of(a=source) == 5


def test_a_long_chain_needs_no_recursion():
    chain = "".join(function(f"f{n}", f"a.f{n + 1}") for n in range(1200))
    assert depth_of(a=chain) == 1200
