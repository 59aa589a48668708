"""Write a TorchScript network as a program of torch.export: the same weights and operators."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from torch._export.converter import TS2EPConverter


def write_program(source: Path, shape: Sequence[int], target: Path) -> None:
    """Write the network at `source`, of one image as input, with a free batch."""
    module = torch.jit.load(str(source), map_location="cpu").eval()
    # torch takes a size of 1 for a constant
    pair = torch.rand(2, *shape[1:])
    batch = torch.export.Dim("batch", min=1)
    with warnings.catch_warnings():
        # the converter is not public, and uses its own deprecated names
        warnings.simplefilter("ignore")
        # it leaves every size free, and images have the size that they were trained on
        free = TS2EPConverter(module, (pair,)).convert()
        program = torch.export.export(
            free.module(), (pair,), dynamic_shapes=({0: batch},)
        )
        torch.export.save(program, target)
