"""The form pointwise-first: its cost."""

from support.engine.oracles import factorisations

from worker.engine.numerics.convolution import Convolution, chain_macs


def test_the_cost_is_the_formula():
    wide = Convolution((4, 16, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1))
    [each] = factorisations(wide, "pointwise-first")
    assert chain_macs(each.convolutions(2), (5, 6)) == 30 * 4 * 2 * (16 + 9)
