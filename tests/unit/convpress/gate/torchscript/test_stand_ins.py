"""Depths of stand-ins."""

from convpress.gate.torchscript.stand_ins import Container, Global, Tuple, depth_of


def test_a_tuple_is_one_deeper_than_its_deepest_value():
    container = Container()
    container.depth = 4
    inner = Tuple([1, "text", Global("net Net")])
    assert [depth_of(value) for value in (7, Global("net Net"), inner)] == [0, 0, 1]
    assert depth_of(Tuple([inner, container, inner])) == 5
    assert depth_of(Tuple([])) == 1


def test_containers_are_told_apart_by_identity():
    assert Container() != Container()
    assert len({Container(), Container()}) == 2
