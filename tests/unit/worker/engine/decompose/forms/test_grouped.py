"""The form grouped: its variants and their cost."""

from support.engine.oracles import factorisations, random_layer

from worker.engine.numerics.convolution import Convolution, chain_macs


def test_wide_convolutions_are_grouped_once_alone():
    variants = {
        c: [
            each.variant
            for each in factorisations(random_layer(8, c).convolution, "grouped")
        ]
        for c in (226, 228)
    }
    assert variants == {226: ["1 group", "2 groups", "113 groups"], 228: ["1 group"]}


def test_the_cost_is_the_formula():
    geometry = Convolution((8, 16, 3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1))
    forms = {form.variant: form for form in factorisations(geometry, "grouped")}
    macs = chain_macs(forms["4 groups"].convolutions(3), (20, 24))
    assert macs == 10 * 12 * 3 * (16 * 9 + 4 * 8)
