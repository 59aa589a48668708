"""The form grouped: its variants."""

from support.engine.oracles import factorisations, random_layer


def test_wide_convolutions_are_grouped_once_alone():
    variants = {
        c: [
            each.variant
            for each in factorisations(random_layer(8, c).convolution, "grouped")
        ]
        for c in (226, 228)
    }
    assert variants == {226: ["1 group", "2 groups", "113 groups"], 228: ["1 group"]}
