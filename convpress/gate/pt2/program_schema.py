"""The schema of a program: what torch's serialiser writes, less what would run code or need it.

Source: torch/_export/serde/schema.py, versions 8.x of the schema.
"""

from convpress.gate.pt2 import names
from convpress.gate.pt2.expressions import expression
from convpress.gate.pt2.json_text import Json
from convpress.gate.pt2.metadata import node_metadata
from convpress.gate.pt2.operators import target
from convpress.gate.pt2.schema import (
    Check,
    Place,
    flag,
    integer,
    list_of,
    map_of,
    nullable,
    number,
    one_of,
    record,
    text,
    unexpected,
    union,
)
from convpress.gate.pt2.tensor_schema import (
    device,
    dtype,
    layout,
    refused_class,
    refused_object,
    tensor_meta,
)
from convpress.gate.pt2.treespec import treespec
from convpress.limits import Limits

_LONGEST_TEXT = 10_000
_LONGEST_GUARD = 100_000
_LONGEST_LIST = 65_536
_KINDS = (0, 1, 2)
_FORMATS = (0, 1, 2, 3, 4)
# The checks that torch makes of a program by itself; others come with other packages.
_VERIFIERS = ("", "ATEN", "TRAINING")


def program(limits: Limits) -> Check:
    """Return the check for a program, without the meaning of its names."""
    graph = _Graphs(limits).graph
    return record(
        {
            "graph_module": record(
                {
                    "graph": graph,
                    "signature": _signature(),
                    "module_call_graph": _calls(limits),
                },
                {
                    "metadata": map_of(text(_LONGEST_TEXT), text(_LONGEST_TEXT)),
                    "treespec_namedtuple_fields": map_of(
                        text(_LONGEST_TEXT), refused_class
                    ),
                },
            ),
            "opset_version": map_of(names.identifier, integer(0)),
            "range_constraints": map_of(
                expression(limits),
                record(
                    {"min_val": nullable(integer()), "max_val": nullable(integer())}
                ),
            ),
            "schema_version": record({"major": integer(0), "minor": integer(0)}),
        },
        {
            "verifiers": list_of(one_of(_VERIFIERS, "a check of torch's own"), 10),
            "torch_version": text(_LONGEST_TEXT),
            # Python, which torch would run: a copy that is opened has none (`samples.py`).
            "guards_code": list_of(text(_LONGEST_GUARD), _LONGEST_LIST),
        },
    )


_tensor = record({"name": names.identifier})
_sym_int = union({"as_name": names.identifier, "as_int": integer()})
_sym_float = union({"as_name": names.identifier, "as_float": number})
_sym_bool = union({"as_name": names.identifier, "as_bool": flag})
_optional_tensor = union({"as_tensor": _tensor, "as_none": flag})

_VALUES: dict[str, Check] = {
    "as_none": flag,
    "as_tensor": _tensor,
    "as_int": integer(),
    "as_float": number,
    "as_bool": flag,
    "as_sym_int": _sym_int,
    "as_sym_float": _sym_float,
    "as_sym_bool": _sym_bool,
}
"""What may come in, and go out."""

_LISTS: dict[str, Check] = {
    "as_tensors": list_of(_tensor, _LONGEST_LIST),
    "as_ints": list_of(integer(), _LONGEST_LIST),
    "as_floats": list_of(number, _LONGEST_LIST),
    "as_bools": list_of(flag, _LONGEST_LIST),
    "as_sym_ints": list_of(_sym_int, _LONGEST_LIST),
    "as_sym_floats": list_of(_sym_float, _LONGEST_LIST),
    "as_sym_bools": list_of(_sym_bool, _LONGEST_LIST),
    "as_optional_tensors": list_of(_optional_tensor, _LONGEST_LIST),
    "as_int_lists": list_of(list_of(integer(), _LONGEST_LIST), _LONGEST_LIST),
    "as_float_lists": list_of(list_of(number, _LONGEST_LIST), _LONGEST_LIST),
}

_ARGUMENTS: dict[str, Check] = {
    **_VALUES,
    **_LISTS,
    "as_string": text(_LONGEST_TEXT),
    "as_strings": list_of(text(_LONGEST_TEXT), _LONGEST_LIST),
    "as_scalar_type": dtype,
    "as_memory_format": one_of(_FORMATS, "the number of a memory format"),
    "as_layout": layout,
    "as_device": device,
    "as_optional_tensor": _optional_tensor,
    "as_complex": record({"real": number, "imag": number}),
    "as_custom_obj": refused_object,
    "as_operator": refused_object,
    "as_string_to_argument": refused_object,
    "as_nested_tensors": refused_object,
}
"""What a node may be called with, except graphs."""

_input = union(
    {**_VALUES, "as_string": names.plain_text, "as_custom_obj": refused_object}
)
_output = union({**_VALUES, **_LISTS, "as_string": names.plain_text})


class _Graphs:
    """The checks of graphs, which hold nodes, which hold graphs."""

    def __init__(self, limits: Limits) -> None:
        self.graph = self._graph(limits)

    def _graph(self, limits: Limits) -> Check:
        arguments = {
            **_ARGUMENTS,
            "as_graph": record(
                {
                    "name": names.identifier,
                    # The graph that is being defined here, when a file is read.
                    "graph": lambda value, place: self.graph(value, place),
                }
            ),
        }
        node = record(
            {
                "target": target,
                "inputs": list_of(
                    record(
                        {"name": names.argument, "arg": union(arguments)},
                        {"kind": nullable(one_of(_KINDS, "0, 1, 2 or null"))},
                    )
                ),
                "outputs": list_of(_output),
                "metadata": node_metadata(limits),
            },
            {
                "is_hop_single_tensor_return": nullable(flag),
                "name": nullable(names.identifier),
            },
        )
        formula = expression(limits)
        hint = union({"as_int": integer(), "as_bool": flag, "as_float": number})
        symbolic = record({"expr_str": formula}, {"hint": nullable(hint)})
        return record(
            {
                "inputs": list_of(_input),
                "outputs": list_of(_output),
                "nodes": list_of(node),
                "tensor_values": map_of(names.identifier, tensor_meta(limits)),
                "sym_int_values": map_of(
                    names.identifier, union({"as_expr": symbolic, "as_int": integer()})
                ),
                "sym_bool_values": map_of(
                    names.identifier, union({"as_expr": symbolic, "as_bool": flag})
                ),
            },
            {
                "is_single_tensor_return": flag,
                "custom_obj_values": map_of(names.identifier, refused_object),
                "sym_float_values": map_of(
                    names.identifier, union({"as_expr": symbolic, "as_float": number})
                ),
            },
        )


def _signature() -> Check:
    constant = union(
        {
            "as_none": flag,
            "as_int": integer(),
            "as_float": number,
            "as_string": names.plain_text,
            "as_bool": flag,
        }
    )
    inputs = union(
        {
            "user_input": record({"arg": _input}),
            "parameter": record({"arg": _tensor, "parameter_name": names.path}),
            "buffer": record(
                {"arg": _tensor, "buffer_name": names.path, "persistent": flag},
            ),
            "tensor_constant": record(
                {"arg": _tensor, "tensor_constant_name": names.path}
            ),
            "constant_input": record({"name": names.identifier, "value": constant}),
            "custom_obj": refused_object,
            "token": refused_object,
        }
    )
    outputs = union(
        {
            "user_output": record({"arg": _output}),
            "loss_output": record({"arg": _tensor}),
            "buffer_mutation": record({"arg": _tensor, "buffer_name": names.path}),
            "parameter_mutation": record(
                {"arg": _tensor, "parameter_name": names.path}
            ),
            "gradient_to_parameter": record(
                {"arg": _tensor, "parameter_name": names.path}
            ),
            "gradient_to_user_input": record(
                {"arg": _tensor, "user_input_name": names.identifier}
            ),
            "user_input_mutation": record(
                {"arg": _tensor, "user_input_name": names.identifier}
            ),
            "token": refused_object,
        }
    )
    return record({"input_specs": list_of(inputs), "output_specs": list_of(outputs)})


def _calls(limits: Limits) -> Check:
    """Return the check for the calls of all modules, of which the first is the whole network's.

    torch takes the structures of inputs and outputs from it.
    """
    every = list_of(_call(limits))

    def check(value: Json, place: Place) -> None:
        every(value, place)
        root = value[0] if value else {}
        if root.get("fqn") != "" or root.get("signature") is None:
            raise unexpected(
                value, place, "calls of which the first is that of the whole network"
            )

    return check


def _call(limits: Limits) -> Check:
    """Return the check for how a module was called."""
    signature = record(
        {
            "inputs": list_of(_input),
            "outputs": list_of(_output),
            "in_spec": treespec(limits, has_arguments=True),
            "out_spec": treespec(limits, has_arguments=False),
        },
        {"forward_arg_names": nullable(list_of(names.identifier))},
    )
    return record({"fqn": names.module_path}, {"signature": nullable(signature)})
