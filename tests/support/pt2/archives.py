"""Archives of torch.export for tests, made from the committed one by edits of its members."""

import io
import json
import struct
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

SMALL = Path(__file__).parents[2] / "models" / "exported" / "small.torch-2.13.0.pt2"
PROGRAM = "models/model.json"
SAMPLES = "data/sample_inputs/model.pt"
WEIGHTS = "data/weights/model_weights_config.json"
CONSTANTS = "data/constants/model_constants_config.json"
Edit = Callable[[dict[str, Any]], object]


@cache
def _small() -> dict[str, bytes]:
    return members(SMALL.read_bytes())


def members(content: bytes) -> dict[str, bytes]:
    """The members of an archive, by name below its folder."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {
            name.partition("/")[2]: archive.read(name) for name in archive.namelist()
        }


def packed(
    contents: dict[str, bytes], folder: str = "net", deflated: tuple[str, ...] = ()
) -> bytes:
    """An archive of these members in one folder."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in contents.items():
            method = zipfile.ZIP_DEFLATED if name in deflated else zipfile.ZIP_STORED
            archive.writestr(zipfile.ZipInfo(f"{folder}/{name}"), content, method)
    return buffer.getvalue()


def with_members(
    changed: dict[str, bytes | None], deflated: tuple[str, ...] = ()
) -> bytes:
    """The small archive with other members; those that are None are left out."""
    contents = {**_small(), **changed}
    return packed(
        {k: v for k, v in contents.items() if v is not None}, deflated=deflated
    )


def with_json(
    name: str, edit: Edit, changed: dict[str, bytes | None] | None = None
) -> bytes:
    """The small archive with a member of JSON edited, and other members changed."""
    value = json.loads(_small()[name])
    edit(value)
    return with_members({**(changed or {}), name: json.dumps(value).encode()})


def with_program(edit: Edit, changed: dict[str, bytes | None] | None = None) -> bytes:
    """The small archive with its program edited."""
    return with_json(PROGRAM, edit, changed)


def with_weight(edit: Edit, changed: dict[str, bytes | None] | None = None) -> bytes:
    """The small archive with the entry of its first weight edited: `conv.weight`, of 4x1x3x3."""
    return with_json(
        WEIGHTS, lambda index: edit(index["config"]["conv.weight"]), changed
    )


def with_constant(edit: Edit, changed: dict[str, bytes | None] | None = None) -> bytes:
    """The small archive with the entry of its constant edited."""
    return with_json(
        CONSTANTS, lambda index: edit(index["config"]["lifted_tensor_0"]), changed
    )


def graph(program: dict[str, Any]) -> dict[str, Any]:
    """The graph of a program."""
    return program["graph_module"]["graph"]


def calls(program: dict[str, Any]) -> dict[str, Any]:
    """How the network of a program is called: its structures of inputs and outputs."""
    return program["graph_module"]["module_call_graph"][0]["signature"]


def treespec(node: dict[str, Any]) -> str:
    """A structure as pytree writes it."""
    return json.dumps([1, node])


LEAF = {"type": None, "context": None, "children_spec": []}


def container(kind: str, context: str, *children: dict[str, Any]) -> dict[str, Any]:
    """A container of a structure."""
    return {"type": kind, "context": context, "children_spec": list(children)}


def node(
    target: str, *arguments: dict[str, Any], name: str | None = None
) -> dict[str, Any]:
    """A node without outputs, with arguments by position."""
    inputs = [{"name": "", "arg": argument, "kind": 1} for argument in arguments]
    return {
        "target": target,
        "inputs": inputs,
        "outputs": [],
        "metadata": {},
        "name": name,
    }


def with_node(*nodes: dict[str, Any]) -> bytes:
    """The small archive with nodes before its first node."""

    def edit(program: dict[str, Any]) -> None:
        graph(program)["nodes"][:0] = nodes

    return with_program(edit)


def with_size(expression: str) -> bytes:
    """The small archive with another expression for a size that the graph computes."""

    def edit(program: dict[str, Any]) -> None:
        first = next(iter(graph(program)["sym_int_values"].values()))
        first["as_expr"]["expr_str"] = expression

    return with_program(edit)


def pickled(expression: str) -> bytes:
    """A file as torch.save writes it, whose pickle evaluates an expression."""
    call = (
        b"cbuiltins\neval\n(X"
        + struct.pack("<I", len(expression))
        + expression.encode()
    )
    contents = {
        "data.pkl": b"\x80\x02" + call + b"tR.",
        "version": b"3\n",
        "byteorder": b"little",
    }
    return packed(contents, "archive")
