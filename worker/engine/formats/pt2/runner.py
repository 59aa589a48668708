"""Run exported programs: torch on one CPU thread, without gradients."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.export import ExportedProgram
from torch.export.graph_signature import ConstantArgument, InputKind
from torch.utils import _pytree as pytree

from convpress.formats import FIELD
from convpress.refusal import Code, Refusal
from worker.engine.formats.aten.errors import TORCH_ERRORS, message_of, require_memory
from worker.engine.formats.aten.outputs import named_outputs
from worker.engine.formats.pt2 import file
from worker.engine.model import Inputs, Runner
from worker.engine.numerics.threads import model_threads


def load(path: Path) -> Runner:
    """Load the program at `path` to be run on one thread, as `program.module()` does.

    Outputs are named by their place: `output`, or `output_0`, `output_1` ... for several,
    `output_key` in a dictionary. Arrays have no bfloat16: float32 stands for it.

    Raises:
        Refusal: `model_invalid` where torch cannot load the file, then or when it is run.
    """
    torch.set_num_threads(model_threads())
    program = file.load(path)
    try:
        module = program.module()
    except (*TORCH_ERRORS, AssertionError) as error:
        require_memory(error)
        raise Refusal(
            Code.MODEL_INVALID,
            f"torch cannot build the model: {message_of(error)}",
            field=FIELD,
        ) from error

    def run(inputs: Inputs) -> dict[str, NDArray[np.generic]]:
        args, kwargs = _arguments(program, inputs)
        try:
            with torch.inference_mode():
                return dict(named_outputs(module(*args, **kwargs), "output"))
        except (*TORCH_ERRORS, AssertionError, NotImplementedError) as error:
            require_memory(error)
            raise Refusal(
                Code.MODEL_INVALID,
                f"torch cannot run the model: {message_of(error)}",
                field=FIELD,
            ) from error

    return run


def _arguments(
    program: ExportedProgram, inputs: Inputs
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return inputs as a caller passes them: nested as at export, in the types of the graph."""
    values = {node.name: node.meta.get("val") for node in program.graph.nodes}
    flat: list[Any] = []
    for spec in program.graph_signature.input_specs:
        if spec.kind != InputKind.USER_INPUT:
            continue
        if isinstance(spec.arg, ConstantArgument):
            flat.append(spec.arg.value)
            continue
        array = inputs[spec.arg.name]
        own = values[spec.arg.name]
        if isinstance(own, torch.Tensor):
            # A program may write into its inputs: each run gets fresh ones.
            flat.append(torch.from_numpy(array.copy()).to(own.dtype))
        else:
            flat.append(int(array))
    args, kwargs = pytree.tree_unflatten(flat, program.call_spec.in_spec)
    return tuple(args), dict(kwargs)
