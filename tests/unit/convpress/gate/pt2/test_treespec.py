"""Structures of inputs and outputs: torch reads those that pass, and no other builds anything."""

import collections
import json

import pytest
import torch.utils._pytree as pytree
from support.pt2.archives import LEAF, container, treespec

from convpress.gate.pt2 import treespec as gate
from convpress.limits import Limits
from convpress.refusal import Refusal

OUTPUTS = gate.treespec(Limits(), has_arguments=False)
INPUTS = gate.treespec(Limits(), has_arguments=True)
Point = collections.namedtuple("Point", "x y")


def refusal_of(text, check=OUTPUTS):
    with pytest.raises(Refusal) as refusal:
        check(text, "place")
    assert len(refusal.value.detail) < 500
    return str(refusal.value.code)


@pytest.mark.parametrize(
    "value",
    [
        1,
        (1, 2),
        [(1,), [2, {"a b": 3, "c": [4]}]],
        collections.OrderedDict(b=1, a=2),
        {3: 1},
        (),
        None,
    ],
    ids=str,
)
def test_what_pytree_writes_of_plain_containers_passes(value):
    OUTPUTS(pytree.treespec_dumps(pytree.tree_structure(value)), "place")


def test_arguments_and_keywords_pass():
    value = ((1, [2]), {"mask": 3, "mode": (4,)})
    INPUTS(pytree.treespec_dumps(pytree.tree_structure(value)), "place")


@pytest.mark.parametrize(
    "value", [collections.defaultdict(list, a=1), collections.deque([1])], ids=str
)
def test_other_containers_are_unsupported(value):
    text = pytree.treespec_dumps(pytree.tree_structure(value))
    assert refusal_of(text) == "model_unsupported"


def test_classes_are_named():
    text = treespec(container("transformers.ModelOutput", "null", LEAF))
    with pytest.raises(Refusal, match=r"'transformers\.ModelOutput'.*dictionaries"):
        OUTPUTS(text, "place")


ENUMERATION = json.dumps([{"__enum__": True, "fqn": "this:d", "name": "x"}])


@pytest.mark.parametrize(
    ("node", "code"),
    [
        (container("builtins.tuple", "[]"), "model_unsafe"),
        (container("builtins.dict", '["a\'b"]', LEAF), "model_unsafe"),
        (container("builtins.dict", '["a\\n"]', LEAF), "model_unsafe"),
        (container("builtins.dict", ENUMERATION, LEAF), "model_unsafe"),
        (container("builtins.dict", "[]", LEAF), "model_invalid"),
        (container("builtins.dict", "{}", LEAF), "model_invalid"),
        (container("builtins.dict", "[", LEAF), "model_invalid"),
        ({**LEAF, "children_spec": [LEAF]}, "model_invalid"),
        ({**LEAF, "context": "null"}, "model_invalid"),
        ({"type": None}, "model_invalid"),
        ({**LEAF, "children_spec": {}}, "model_invalid"),
        ([], "model_invalid"),
    ],
    ids=str,
)
def test_other_structures_are_refused(node, code):
    assert refusal_of(treespec(node)) == code


@pytest.mark.parametrize(
    "text", ["", "{}", "[1]", "[2, {}]", "1", None, '[1, {"a": 1, "a": 2}]']
)
def test_other_texts_are_invalid(text):
    assert refusal_of(text) == "model_invalid"


def test_keywords_must_be_names():
    call = container(
        "builtins.tuple",
        "null",
        container("builtins.tuple", "null"),
        container("builtins.dict", '["a=print()"]', LEAF),
    )
    OUTPUTS(treespec(call), "place")
    assert refusal_of(treespec(call), INPUTS) == "model_unsafe"


def test_depth_is_bounded():
    node = LEAF
    for _ in range(31):
        node = container("builtins.tuple", "null", node)
    OUTPUTS(treespec(node), "place")
    node = container("builtins.tuple", "null", node)
    assert refusal_of(treespec(node)) == "model_over_limit"
