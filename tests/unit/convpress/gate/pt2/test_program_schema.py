"""The schema of programs: members that torch knows, and none that would run or need code."""

import pytest
from support.pt2.archives import calls, graph, node, with_program

from convpress.gate.check import require_safe
from convpress.limits import Limits
from convpress.refusal import Refusal


def refusal_of(tmp_path, edit):
    path = tmp_path / "model"
    path.write_bytes(with_program(edit))
    with pytest.raises(Refusal) as refusal:
        require_safe(path, "pt2", Limits())
    assert len(refusal.value.detail) < 500
    return refusal.value


def with_argument(argument):
    call = node("torch.ops.aten.relu.default", argument)
    return lambda program: graph(program)["nodes"].insert(0, call)


def with_input_spec(spec):
    def edit(program):
        program["graph_module"]["signature"]["input_specs"][-1] = spec

    return edit


@pytest.mark.parametrize(
    "argument",
    [
        {"as_custom_obj": {"name": "a", "class_fqn": "b"}},
        {"as_operator": "torch.save"},
        {"as_string_to_argument": {"a": {"as_int": 1}}},
        {"as_nested_tensors": [[]]},
    ],
    ids=str,
)
def test_objects_and_functions_are_unsafe(tmp_path, argument):
    assert refusal_of(tmp_path, with_argument(argument)).code == "model_unsafe"


@pytest.mark.parametrize(
    "spec",
    [
        {
            "custom_obj": {
                "arg": {"name": "a", "class_fqn": "b"},
                "custom_obj_name": "c",
            }
        },
        {"token": {"arg": {"name": "a"}}},
        {"user_input": {"arg": {"as_string": "a' or open('b', 'w') or 'c"}}},
        {"constant_input": {"name": "image", "value": {"as_string": "a'"}}},
        {"constant_input": {"name": "a b", "value": {"as_none": True}}},
    ],
    ids=str,
)
def test_inputs_that_torch_would_evaluate_are_unsafe(tmp_path, spec):
    assert refusal_of(tmp_path, with_input_spec(spec)).code == "model_unsafe"


@pytest.mark.parametrize(
    "argument",
    [
        {},
        {"as_int": 1, "as_float": 1.0},
        {"as_int": 2**63},
        {"as_int": True},
        {"as_int": 1.5},
        {"as_float": "nan"},
        {"as_float": 10**400},
        {"as_bool": 1},
        {"as_ints": {"0": 1}},
        {"as_ints": [1] * 65_537},
        {"as_string": "a" * 10_001},
        {"as_scalar_type": 0},
        {"as_scalar_type": True},
        {"as_memory_format": 5},
        {"as_unknown": 1},
        [],
        None,
    ],
    ids=lambda argument: str(argument)[:40],
)
def test_other_arguments_are_invalid(tmp_path, argument):
    assert refusal_of(tmp_path, with_argument(argument)).code == "model_invalid"


@pytest.mark.parametrize(
    "argument",
    [
        {"as_layout": 1},
        {"as_device": {"type": "cuda", "index": 0}},
        {"as_device": {"type": "meta"}},
    ],
    ids=str,
)
def test_other_devices_and_layouts_are_unsupported(tmp_path, argument):
    assert refusal_of(tmp_path, with_argument(argument)).code == "model_unsupported"


EDITS = {
    "an unknown member": (lambda program: program.update(code="x"), "model_invalid"),
    "no graph": (lambda program: program["graph_module"].pop("graph"), "model_invalid"),
    "another verifier": (
        lambda program: program.update(verifiers=["EVIL"]),
        "model_invalid",
    ),
    "guards that are no texts": (
        lambda program: program.update(guards_code=[1]),
        "model_invalid",
    ),
    "a named tuple": (
        lambda program: program["graph_module"].update(
            treespec_namedtuple_fields={"a.B": {"field_names": ["c"]}}
        ),
        "model_unsupported",
    ),
    "a keyword as a name": (
        lambda program: calls(program).update(forward_arg_names=["class"]),
        "model_unsafe",
    ),
    "a range of code": (
        lambda program: program["range_constraints"].update(
            {"print()": {"min_val": 1, "max_val": 2}}
        ),
        "model_unsafe",
    ),
    "a path of code": (
        lambda program: program["graph_module"]["module_call_graph"][1].update(
            fqn='a"+b'
        ),
        "model_unsafe",
    ),
    "an attribute of Python": (
        lambda program: program["graph_module"]["module_call_graph"][1].update(
            fqn="__class__"
        ),
        "model_unsafe",
    ),
    "a name that is no variable": (
        lambda program: graph(program)["tensor_values"].update(
            {"a b": graph(program)["tensor_values"]["relu"]}
        ),
        "model_unsafe",
    ),
    "a function beside a node": (
        lambda program: graph(program)["nodes"][0]["metadata"].update(
            source_fn_stack="a,#b:c"
        ),
        "model_unsafe",
    ),
    "an unknown note": (
        lambda program: graph(program)["nodes"][0]["metadata"].update(evil="a"),
        "model_invalid",
    ),
    "a note that is no JSON": (
        lambda program: graph(program)["nodes"][0]["metadata"].update(custom="{"),
        "model_invalid",
    ),
    "a note of another kind": (
        lambda program: graph(program)["nodes"][0]["metadata"].update(custom="[]"),
        "model_invalid",
    ),
    "a network that nothing calls": (
        lambda program: program["graph_module"].update(module_call_graph=[]),
        "model_invalid",
    ),
    "a network that is called without inputs": (
        lambda program: program["graph_module"]["module_call_graph"][0].update(
            signature=None
        ),
        "model_invalid",
    ),
    "a note that nests": (
        lambda program: graph(program)["nodes"][0]["metadata"].update(
            from_node="[" * 65 + "]" * 65
        ),
        "model_over_limit",
    ),
}


@pytest.mark.parametrize(("edit", "code"), EDITS.values(), ids=EDITS)
def test_other_programs_are_refused(tmp_path, edit, code):
    assert refusal_of(tmp_path, edit).code == code


def test_the_place_is_named(tmp_path):
    refusal = refusal_of(tmp_path, with_argument({"as_int": "1"}))
    assert (
        "models/model.json, graph_module.graph.nodes[0].inputs[0].arg.as_int is '1' instead of"
        in refusal.detail
    )


@pytest.mark.parametrize(
    "argument",
    [
        {"as_none": True},
        {"as_float": "-Infinity"},
        {"as_float": 1},
        {"as_ints": []},
        {"as_complex": {"real": 1.0, "imag": 0}},
        {"as_device": {"type": "cpu", "index": None}},
        {"as_optional_tensors": [{"as_none": True}]},
        {"as_strings": ["a'b"]},
    ],
    ids=str,
)
def test_plain_arguments_pass(tmp_path, argument):
    path = tmp_path / "model"
    path.write_bytes(with_program(with_argument(argument)))
    require_safe(path, "pt2", Limits())
