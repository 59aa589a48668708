"""Torch's own count of multiply-accumulates, which knows nothing of sites, rules or graphs."""

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


def counted_by_torch(module, *inputs):
    """Count with gradients, since torch's counter does not look into fast paths and kernels."""
    has_mkldnn = torch._C._get_mkldnn_enabled()
    torch._C._set_mkldnn_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            module(*inputs)
    finally:
        torch._C._set_mkldnn_enabled(has_mkldnn)
    return counter.get_total_flops() // 2
