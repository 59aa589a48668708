"""Counters of multiply-accumulates that share nothing with the product's: both run the model."""

import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import inliner
from torch.jit._fuser import optimized_execution
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
from support.counting_oracle import model_macs

_MOST_BYTES = 2**30
_BODIES = ("If", "Loop", "Scan", "SequenceMap")

Arrays = Mapping[str, NDArray[np.generic]]


def onnx_macs(path: Path, inputs: Arrays) -> int | None:
    """Return the multiply-accumulates of an ONNX model, by the arrays of a run.

    None where its nodes have graphs of their own, whose arrays a run does not give, or where it is
    large.
    """
    model = onnx.load(path)
    if model.ByteSize() > _MOST_BYTES:
        return None
    if model.functions:
        model = inliner.inline_local_functions(model)
    if any(node.op_type in _BODIES for node in model.graph.node):
        return None
    return model_macs(model, dict(inputs))


def torchscript_macs(path: Path, inputs: Arrays) -> int:
    """Return the multiply-accumulates of a TorchScript module, by torch's own counter.

    It does not know the fused operators of attention: they count as 0.
    """
    module = torch.jit.load(str(path), map_location="cpu").eval()
    tensors = [torch.from_numpy(array.copy()) for array in inputs.values()]
    torch._C._set_mkldnn_enabled(False)
    try:
        with (
            # without it the layers would run whose outputs nothing uses
            optimized_execution(should_optimize=True),
            sdpa_kernel(SDPBackend.MATH),
            FlopCounterMode(display=False) as counter,
        ):
            module(*tensors)
    finally:
        torch._C._set_mkldnn_enabled(True)
    return int(counter.get_total_flops() // 2)
