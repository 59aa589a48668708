"""Run TorchScript models: torch on one CPU thread, without gradients."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.jit._script import RecursiveScriptModule

from convpress.formats import FIELD
from convpress.refusal import Code, Refusal
from worker.engine.formats.aten.errors import TORCH_ERRORS, message_of, require_memory
from worker.engine.formats.aten.outputs import named_outputs
from worker.engine.formats.torchscript import file
from worker.engine.formats.torchscript.preparation import devices
from worker.engine.formats.torchscript.signature import Argument, arguments, own_dtype
from worker.engine.model import Inputs, Runner
from worker.engine.numerics.threads import model_threads

_UNDEFINED = "undefined Tensor"


def load(path: Path) -> Runner:
    """Load the model at `path` to be run on one thread, in evaluation mode.

    Outputs are named by their place: `output`, or `output_0`, `output_1` ... for several,
    `output_key` in a dictionary. Arrays have no bfloat16: float32 stands for it.

    Raises:
        Refusal: `model_invalid` where torch cannot load the file, then or when it is run.
    """
    torch.set_num_threads(model_threads())
    module = file.load(path).eval()
    devices.run_on_processor(module)
    dtype = own_dtype(module)

    def run(inputs: Inputs) -> dict[str, NDArray[np.generic]]:
        # A module may write into its inputs: each run gets fresh ones.
        tensors = {
            name: torch.from_numpy(array.copy()) for name, array in inputs.items()
        }
        passed = arguments(module, tensors, dtype)
        try:
            return dict(named_outputs(_results(module, passed), "output"))
        except TORCH_ERRORS as error:
            require_memory(error)
            raise Refusal(
                Code.MODEL_INVALID,
                f"torch cannot run the model: {message_of(error)}",
                field=FIELD,
            ) from error

    return run


def _results(module: RecursiveScriptModule, arguments: Mapping[str, Argument]) -> Any:  # noqa: ANN401 - whatever comes out
    """Run a module in inference, or with gradients where torch's own fast path fails.

    It fails on attention that returns None for its weights: the interpreter takes no undefined
    tensor out. With gradients on it computes the same by another path.
    """
    try:
        with torch.inference_mode():
            return module(**arguments)
    except TORCH_ERRORS as error:
        if _UNDEFINED not in str(error):
            raise
    return module(**arguments)
