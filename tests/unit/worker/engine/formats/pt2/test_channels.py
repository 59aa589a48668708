"""Normalisations of a program of torch.export with some of their channels."""

import pytest
import torch
from torch import nn

from worker.engine.formats.pt2.channels import keep_in_norm

KEPT = [0, 2, 3]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_the_numbers_that_stay_are_those_of_the_file(dtype):
    module = nn.BatchNorm2d(5)
    nn.init.normal_(module.weight)
    nn.init.normal_(module.running_mean)
    module = module.to(dtype).eval()
    if dtype == torch.float64:
        module.weight.data += 1e-12
    program = torch.export.export(module, (torch.zeros(1, 5, 4, 4, dtype=dtype),))
    (norm,) = (node for node in program.graph.nodes if "norm" in str(node.target))
    keep_in_norm(program, norm, KEPT)
    for name in ("weight", "bias", "running_mean", "running_var"):
        kept = program.state_dict[f"{name}_kept"]
        assert kept.dtype == dtype
        assert torch.equal(kept, module.state_dict()[name][KEPT])
