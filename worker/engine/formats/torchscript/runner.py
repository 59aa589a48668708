"""Run TorchScript models: torch on one CPU thread, without gradients."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from convpress.formats import FIELD
from convpress.refusal import Code, Refusal
from worker.engine.formats.aten.errors import TORCH_ERRORS, message_of, require_memory
from worker.engine.formats.aten.outputs import named_outputs
from worker.engine.formats.torchscript import file
from worker.engine.formats.torchscript.preparation import devices
from worker.engine.formats.torchscript.signature import arguments, own_dtype
from worker.engine.model import Inputs, Runner


def load(path: Path) -> Runner:
    """Load the model at `path` to be run on one thread, in evaluation mode.

    Outputs are named by their place: `output`, or `output_0`, `output_1` ... for several,
    `output_key` in a dictionary. Arrays have no bfloat16: float32 stands for it.

    Raises:
        Refusal: `model_invalid` where torch cannot load the file, then or when it is run.
    """
    torch.set_num_threads(1)
    module = file.load(path).eval()
    devices.run_on_processor(module)
    dtype = own_dtype(module)

    def run(inputs: Inputs) -> dict[str, NDArray[np.generic]]:
        # A module may write into its inputs: each run gets fresh ones.
        tensors = {name: torch.from_numpy(array.copy()) for name, array in inputs.items()}
        passed = arguments(module, tensors, dtype)
        try:
            with torch.inference_mode():
                return dict(named_outputs(module(**passed), "output"))
        except TORCH_ERRORS as error:
            require_memory(error)
            raise Refusal(
                Code.MODEL_INVALID, f"torch cannot run the model: {message_of(error)}", field=FIELD
            ) from error

    return run
