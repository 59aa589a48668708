"""A value has one name at a time, which no value had before."""

import pytest
import torch

from worker.engine.formats.torchscript.program import value_names
from worker.engine.formats.torchscript.program.value_names import ValueNames
from worker.engine.program import NoProgramError


@torch.jit.script
def added(x, y):
    return x + y, x - y


@pytest.fixture
def values():
    return list(added.graph.inputs())


def test_a_renamed_value_takes_all_that_share_its_name_along(values):
    names = ValueNames()
    x, y = values
    names.bind_input(x, "image")
    names.bind(y, "image")
    assert names.of_all(values) == ["image", "image"]
    fresh = names.rename("image")
    assert names.of_all(values) == [fresh, fresh]
    assert not names.by_name()["image"]
    assert names.type_of(fresh) == x.type()


def test_every_fresh_name_is_another(values):
    names = ValueNames()
    assert len({names.fresh(values[0]) for _ in range(5)}) == 5


def test_a_value_without_a_name_is_none_of_a_program(values):
    names = ValueNames()
    names.fresh(values[0])
    names.forget(values[0])
    with pytest.raises(NoProgramError, match="neither a tensor nor a number"):
        names.of(values[0])


def test_names_come_to_an_end(values, monkeypatch):
    monkeypatch.setattr(value_names, "_MOST_VALUES", 3)
    names = ValueNames()
    for _ in range(3):
        names.fresh(values[0])
    with pytest.raises(NoProgramError, match="more than 3 values"):
        names.fresh(values[0])
