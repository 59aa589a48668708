"""Torch.export archives that act: torch writes a file where it opens them, or runs their network.

Source: what torch/_export/serde/serialize.py and torch/export/_unlift.py of torch 2.13 evaluate.
"""

import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

from support.pt2.archives import (
    LEAF,
    PROGRAM,
    SAMPLES,
    WEIGHTS,
    calls,
    container,
    graph,
    members,
    node,
    packed,
    pickled,
    treespec,
    with_constant,
    with_json,
    with_members,
    with_program,
    with_size,
    with_weight,
)

Files = Iterator[tuple[str, bytes | Callable[[], bytes], bool]]


def acting(mark: Callable[[str], Path]) -> Files:
    """Yield the files that write a file where torch opens them, or runs their network.

    `mark` says which one, by the name of the hostile file.
    """
    for name, make in _ACTS.items():
        deed = f"open('{mark(name)}', 'w')"
        yield (
            name,
            (lambda make=make, deed=deed: make(deed)),
            name not in HARMLESS_AS_COPIES,
        )


def importing(structure: str) -> bytes:
    """The small archive whose structure of inputs or outputs has torch import `this`.

    A key of a dictionary names it as the module of an enumeration.
    """
    key = json.dumps([{"__enum__": True, "fqn": "this:d", "name": "x"}])
    spec = treespec(container("builtins.dict", key, LEAF))
    return with_program(lambda program: calls(program).update({structure: spec}))


HARMLESS_AS_COPIES = frozenset({"sample-inputs-run", "guard-writes-a-file-at-run"})
"""What the gate lets through, since nothing opens more than a copy without samples and guards."""


def _pickle_at(name: str, edit: Callable[[dict], object], kind: Callable[..., bytes]):
    return lambda deed: kind(edit, {name: pickled(deed)})


def _use_pickle(entry: dict) -> None:
    entry["use_pickle"] = True


def _opaque(deed: str) -> bytes:
    call = (
        b"cbuiltins\neval\n(X" + struct.pack("<I", len(deed)) + deed.encode() + b"tR."
    )
    return with_constant(
        lambda entry: entry.update(
            path_name="opaque_obj_0", use_pickle=True, tensor_meta=None
        ),
        {
            "data/constants/opaque_obj_0": b"\x80\x02" + call,
            "data/constants/tensor_0": None,
        },
    )


def _renamed(deed: str) -> bytes:
    """The input of the graph is called as code is: the default of an argument."""

    def edit(program: dict) -> None:
        values = graph(program)["tensor_values"]
        values[f"image={deed}"] = values["image"]

    content = with_program(edit)
    old, new = b'{"name": "image"}', json.dumps({"name": f"image={deed}"}).encode()
    contents = members(content)
    contents[PROGRAM] = contents[PROGRAM].replace(old, new)
    return packed(contents)


def _argument(deed: str) -> bytes:
    """An argument that ends its function; a string swallows all up to where torch repeats it."""
    name = f'image):\n    {deed}\n    return """#'
    return with_program(lambda program: calls(program).update(forward_arg_names=[name]))


def _keyword(deed: str) -> bytes:
    """A keyword whose default acts; torch writes it once more as a key, in quotes, and as a value.

    A comment ends the line of the default, and both places read on as code.
    """
    act = deed.replace("'", '"')
    key = f'image={act}#\'\n if 1 else ""'
    call = container(
        "builtins.tuple",
        "null",
        container("builtins.tuple", "null"),
        container("builtins.dict", json.dumps([key]), LEAF),
    )
    changed = {"in_spec": treespec(call), "forward_arg_names": None}
    return with_program(lambda program: calls(program).update(changed))


def _attribute(deed: str) -> bytes:
    """A parameter of which torch writes the name between quotes."""
    double = deed.replace("'", '"')
    name = f'x", {double}) or getattr(self, "conv'

    def rename(program: dict) -> None:
        for spec in program["graph_module"]["signature"]["input_specs"]:
            if spec.get("parameter", {}).get("parameter_name") == "conv.weight":
                spec["parameter"]["parameter_name"] = f"conv.{name}"

    def index(weights: dict) -> None:
        weights["config"][f"conv.{name}"] = weights["config"].pop("conv.weight")

    contents = members(with_json(WEIGHTS, index))
    contents[PROGRAM] = members(with_program(rename))[PROGRAM]
    return packed(contents)


def _operator_argument(deed: str) -> bytes:
    call = node("torch.ops.higher_order.wrap_with_set_grad_enabled", {"as_bool": False})
    call["inputs"].append(
        {"name": f"a={deed}, b", "arg": {"as_bool": False}, "kind": 2}
    )
    return _with_output(call)


def _mapped_file(deed: str) -> bytes:
    path = deed.split("'")[1]
    call = node(
        "torch.ops.aten.from_file.default",
        {"as_string": path},
        {"as_bool": True},
        {"as_int": 4},
    )
    for entry, name in zip(call["inputs"], ("filename", "shared", "size"), strict=True):
        entry["name"] = name
    return _with_output(call)


def _with_output(call: dict) -> bytes:
    """The small archive with a node that returns a tensor before its first node."""
    call["outputs"] = [{"as_tensor": {"name": "more"}}]
    call["is_hop_single_tensor_return"] = True

    def edit(program: dict) -> None:
        values = graph(program)["tensor_values"]
        values["more"] = values["add"]
        graph(program)["nodes"].insert(0, call)

    return with_program(edit)


_ACTS: dict[str, Callable[[str], bytes]] = {
    "sample-inputs-run": lambda deed: with_members({SAMPLES: pickled(deed)}),
    "pickle-runs-in-a-weight": _pickle_at(
        "data/weights/weight_0", _use_pickle, with_weight
    ),
    "pickle-runs-in-a-constant": _pickle_at(
        "data/constants/tensor_0", _use_pickle, with_constant
    ),
    "pickle-runs-in-an-opaque-object": _opaque,
    "pickle-runs-in-legacy-weights": lambda deed: with_members(
        {"data/weights/model.pt": pickled(deed)}
    ),
    "pickle-runs-in-legacy-constants": lambda deed: with_members(
        {"data/constants/model.pt": pickled(deed)}
    ),
    "expression-writes-a-file-at-load": with_size,
    "size-of-a-tensor-writes-a-file-at-load": lambda deed: with_program(
        lambda program: graph(program)["tensor_values"]["image"]["sizes"].__setitem__(
            0, {"as_expr": {"expr_str": deed, "hint": {"as_int": 2}}}
        )
    ),
    "input-name-writes-a-file-at-load": _renamed,
    "argument-name-writes-a-file-at-run": _argument,
    "keyword-writes-a-file-at-run": _keyword,
    "attribute-name-writes-a-file-at-run": _attribute,
    "operator-argument-writes-a-file-at-run": _operator_argument,
    "guard-writes-a-file-at-run": lambda deed: with_program(
        lambda program: program.update(guards_code=[f"{deed} is not None"])
    ),
    "forward-writes-a-mapped-file-at-run": _mapped_file,
}
