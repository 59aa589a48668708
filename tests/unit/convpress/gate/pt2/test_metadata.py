"""Notes of a node are texts, JSON that is not too deep, and names of functions."""

import json

import pytest

from convpress.gate.pt2.metadata import node_metadata
from convpress.limits import Limits
from convpress.refusal import Refusal


@pytest.mark.parametrize(
    "notes",
    [
        {},
        {"stack_trace": 'File "a.py", line 1'},
        {"torch_fn": "conv2d_1;builtin_function.conv2d", "nn_module_stack": "a,b;"},
        {"custom": '{"a": [1]}', "from_node": '[{"name": "x"}]'},
        {"source_fn_stack": "conv,torch.nn.modules.conv.Conv2d;x,torch._ops.<f>"},
    ],
)
def test_what_torch_writes_passes(notes):
    node_metadata(Limits())(notes, "notes")


@pytest.mark.parametrize(
    ("notes", "code"),
    [
        ([], "model_invalid"),
        ({"stack_trace": 7}, "model_invalid"),
        ({"stack_trace": "x" * 1_000_001}, "model_invalid"),
        ({"other": ""}, "model_invalid"),
        ({"custom": "[]"}, "model_invalid"),
        ({"from_node": "{"}, "model_invalid"),
        ({"source_fn_stack": "a,__import__('os')"}, "model_unsafe"),
        ({"source_fn_stack": "no comma"}, "model_unsafe"),
    ],
)
def test_other_notes_are_refused(notes, code):
    with pytest.raises(Refusal) as refusal:
        node_metadata(Limits())(notes, "notes")
    assert refusal.value.code == code


@pytest.mark.parametrize(("levels", "passes"), [(3, True), (4, False)])
def test_brackets_nest_so_deep_and_no_deeper(levels, passes):
    note = "x"
    for level in range(levels - 1):
        note = {"a": note} if level % 2 else [note]
    check = node_metadata(Limits(nesting=3))
    notes = {"from_node": json.dumps(note)}
    if passes:
        check(notes, "notes")
        return
    with pytest.raises(Refusal, match="too deep") as refusal:
        check(notes, "notes")
    assert refusal.value.code == "model_over_limit"
