"""What a file declares of its inputs and outputs, read by the libraries themselves."""

from pathlib import Path

import onnx
import torch


def signature(path: Path) -> list[str]:
    """Return the names, types and shapes of a model's inputs and outputs; free axes by symbol."""
    if path.suffix == ".onnx":
        return _of_onnx(path)
    if path.suffix == ".pt2":
        return _of_program(path)
    module = torch.jit.load(str(path), map_location="cpu")
    schema = module._c._get_method("forward").schema
    # the first argument is the module, whose type may have another number
    arguments = [f"{each.name}: {each.type}" for each in schema.arguments[1:]]
    return [*arguments, *(str(each.type) for each in schema.returns)]


def _of_onnx(path: Path) -> list[str]:
    graph = onnx.load(path, load_external_data=False).graph
    weights = {tensor.name for tensor in graph.initializer}
    values = [value for value in graph.input if value.name not in weights]
    lines = []
    for value in (*values, *graph.output):
        tensor = value.type.tensor_type
        sizes = [size.dim_param or size.dim_value for size in tensor.shape.dim]
        rank = "any" if not tensor.HasField("shape") else sizes
        lines.append(f"{value.name}: {tensor.elem_type} {rank}")
    return lines


def _of_program(path: Path) -> list[str]:
    """Return the inputs and outputs, what the program writes, and the ranges of its symbols."""
    program = torch.export.load(path)
    nodes = {node.name: node for node in program.graph.nodes}
    specs = [
        *program.graph_signature.user_inputs,
        *program.graph_signature.user_outputs,
    ]
    lines = []
    for name in specs:
        value = nodes[name].meta["val"] if name in nodes else name
        is_tensor = isinstance(value, torch.Tensor)
        described = f"{value.dtype} {list(value.shape)}" if is_tensor else str(value)
        lines.append(f"{name}: {described}")
    lines += [
        f"{symbol}: {bounds}" for symbol, bounds in program.range_constraints.items()
    ]
    lines.append(str(program.graph_signature.buffers_to_mutate))
    lines.append(str(program.call_spec))
    return lines
