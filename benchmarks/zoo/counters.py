"""Counters of multiply-accumulates that share nothing with the product's: both run the model."""

import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import inliner

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
from support.onnx.counting_oracle import model_macs
from support.torchscript.counting_oracle import counted_by_torch

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
    return int(counted_by_torch(module, *_tensors(inputs)))


def pt2_macs(path: Path, inputs: Arrays) -> int:
    """Return the multiply-accumulates of a program of torch.export, by torch's own counter.

    The program has tensors for its arguments alone.
    """
    module = torch.export.load(path).module()
    return int(counted_by_torch(module, *_tensors(inputs)))


def _tensors(inputs: Arrays) -> list[torch.Tensor]:
    return [torch.from_numpy(array.copy()) for array in inputs.values()]
