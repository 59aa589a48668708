"""The sizes and costs of convolutions, against those that torch's own layers have."""

import pytest
import torch

from worker.engine.numerics.convolution import Convolution, chain_macs


@pytest.mark.parametrize("size", [7, 8, 11])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation"),
    [(3, 1, 1, 1), (3, 2, 1, 1), (1, 2, 0, 1), (3, 1, 2, 2), (2, 3, 0, 1)],
)
def test_an_output_is_as_large_as_torchs(size, kernel, stride, padding, dilation):
    module = torch.nn.Conv1d(4, 6, kernel, stride, padding, dilation, groups=2)
    geometry = Convolution(
        tuple(module.weight.shape),
        (stride,),
        ((padding, padding),),
        (dilation,),
        groups=2,
    )
    output = module(torch.zeros(1, 4, size))
    assert geometry.output_size((size,)) == tuple(output.shape[2:])
    assert (geometry.in_channels, geometry.out_channels) == (4, 6)
    # each output position takes each weight once
    assert geometry.macs((size,), batch=5) == 5 * output.shape[2] * 6 * 2 * kernel


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "extra"),
    [(3, 2, 1, 1), (4, 2, 1, 0), (2, 3, 0, 2), (3, 1, 1, 0)],
)
def test_a_transposed_output_is_as_large_as_torchs(kernel, stride, padding, extra):
    module = torch.nn.ConvTranspose1d(6, 4, kernel, stride, padding, extra, groups=2)
    geometry = Convolution(
        tuple(module.weight.shape),
        (stride,),
        ((padding, padding),),
        (1,),
        groups=2,
        transposed=True,
        output_padding=(extra,),
    )
    output = module(torch.zeros(1, 6, 9))
    assert geometry.output_size((9,)) == tuple(output.shape[2:])
    assert (geometry.in_channels, geometry.out_channels) == (6, 4)
    # each input position takes each weight once
    assert geometry.macs((9,)) == 9 * module.weight.numel()


@pytest.mark.parametrize("rule", ["same_upper", "same_lower"])
@pytest.mark.parametrize("transposed", [False, True])
def test_by_the_rules_of_padding_the_kernel_has_no_influence(rule, transposed):
    sizes = {
        Convolution(
            (2, 2, kernel), (2,), rule, (1,), transposed=transposed
        ).output_size((7,))
        for kernel in (1, 3, 5)
    }
    assert sizes == {(14,) if transposed else (4,)}


def test_each_layer_of_a_chain_runs_on_the_output_of_the_one_before():
    halving = Convolution((8, 3, 3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1))
    pointwise = Convolution((5, 8, 1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1))
    assert chain_macs([halving, pointwise], (8, 6)) == 12 * (8 * 27) + 12 * 40


def test_a_linear_layer_is_a_convolution_without_axes():
    linear = Convolution((5, 8), (), (), ())
    assert linear.output_size(()) == ()
    assert linear.macs((), batch=3) == 3 * 40
    assert (linear.patch, linear.k2) == (8, 1)
