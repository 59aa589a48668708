"""Programs whose graphs, signature and tensors contradict each other are refused."""

import pytest
from support.pt2.archives import graph, node, with_program

from convpress.gate.check import require_safe
from convpress.limits import Limits
from convpress.refusal import Refusal

EMPTY = {
    "inputs": [],
    "outputs": [],
    "nodes": [],
    "tensor_values": {},
    "sym_int_values": {},
    "sym_bool_values": {},
}
RUNS_A_GRAPH = "torch.ops.higher_order.wrap_with_set_grad_enabled"


def refusal_of(tmp_path, edit):
    path = tmp_path / "model"
    path.write_bytes(with_program(edit))
    with pytest.raises(Refusal) as refusal:
        require_safe(path, "pt2", Limits())
    assert len(refusal.value.detail) < 500
    return refusal.value


def named(name):
    return {"as_tensor": {"name": name}}


def spec_of(program, kind):
    specs = program["graph_module"]["signature"]["input_specs"]
    return next(spec[kind] for spec in specs if kind in spec)


def with_graph(inner, target=RUNS_A_GRAPH):
    argument = {"as_graph": {"name": "inner", "graph": inner}}
    return lambda program: graph(program)["nodes"].insert(0, node(target, argument))


EDITS = {
    "uses": lambda program: graph(program)["nodes"].insert(
        0, node("torch.ops.aten.relu.default", named("linear"))
    ),
    "defines it twice": lambda program: graph(program)["nodes"].append(
        graph(program)["nodes"][0]
    ),
    "does not describe": lambda program: graph(program)["tensor_values"].pop("relu"),
    "outputs": lambda program: graph(program)["outputs"].append(named("relu")),
    "inputs, and the graph": lambda program: program["graph_module"]["signature"][
        "input_specs"
    ].pop(),
    "names an input": lambda program: spec_of(program, "parameter")["arg"].update(
        name="image"
    ),
    "names a tensor": lambda program: spec_of(program, "parameter").update(
        parameter_name="a.b"
    ),
    "in the index": lambda program: graph(program)["tensor_values"][
        "p_conv_weight"
    ].update(dtype=8),
    "a run changes": lambda program: program["graph_module"]["signature"][
        "output_specs"
    ].__setitem__(
        0, {"buffer_mutation": {"arg": {"name": "add"}, "buffer_name": "other"}}
    ),
}


@pytest.mark.parametrize("words", EDITS)
def test_contradictions_are_invalid(tmp_path, words):
    refusal = refusal_of(tmp_path, EDITS[words])
    assert refusal.code == "model_invalid"
    assert words.split()[0] in refusal.detail


def test_values_of_a_graph_within_are_its_own(tmp_path):
    inner = EMPTY | {"nodes": [node("torch.ops.aten.relu.default", named("image"))]}
    assert "'image' before" in refusal_of(tmp_path, with_graph(inner)).detail


def test_graphs_are_checked_alike(tmp_path):
    inner = EMPTY | {"nodes": [node("torch.save")]}
    assert refusal_of(tmp_path, with_graph(inner)).code == "model_unsafe"


def test_other_operators_have_no_graphs(tmp_path):
    refusal = refusal_of(tmp_path, with_graph(EMPTY, "torch.ops.aten.relu.default"))
    assert refusal.code == "model_unsafe"


def test_depth_of_graphs_is_bounded(tmp_path):
    inner = EMPTY
    for _ in range(8):
        inner = EMPTY | {
            "nodes": [
                node(RUNS_A_GRAPH, {"as_graph": {"name": "inner", "graph": inner}})
            ]
        }
    assert refusal_of(tmp_path, with_graph(inner)).code == "model_over_limit"


@pytest.mark.parametrize(
    "exponent", [{"as_int": 33}, {"as_int": -33}, {"as_bool": True}], ids=str
)
def test_powers_of_sizes_are_bounded(tmp_path, exponent):
    power = node("_operator.pow", {"as_int": 2}, exponent)
    refusal = refusal_of(
        tmp_path, lambda program: graph(program)["nodes"].insert(0, power)
    )
    assert refusal.code == "model_unsafe"


@pytest.mark.parametrize("exponent", [{"as_int": 2}, {"as_float": 0.5}], ids=str)
def test_small_powers_pass(tmp_path, exponent):
    power = node("_operator.pow", {"as_int": 2}, exponent)
    path = tmp_path / "model"
    path.write_bytes(
        with_program(lambda program: graph(program)["nodes"].insert(0, power))
    )
    require_safe(path, "pt2", Limits())
