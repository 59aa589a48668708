"""Budgets of the file's size."""

from dataclasses import replace
from types import SimpleNamespace

from support.engine.analyses import QUICK, analysed

from worker.engine.selection.units.bytes import Bytes


def test_amounts_are_written_in_bytes():
    assert Bytes().text(12) == "12 B"
    assert Bytes().reported(12) == {"bytes": 12}


def test_a_share_is_one_of_the_file_that_was_sent():
    opened = SimpleNamespace(bytes=400, posted_bytes=100)
    assert Bytes().total(opened, []) == Bytes().measured(opened) == 400
    assert Bytes().posted(opened, 400) == 100


def test_a_weight_has_the_bytes_of_its_type_and_one_in_int8():
    (site,) = analysed(QUICK, paths=(1000, 250)).sites
    half = replace(site, itemsize=2)
    assert Bytes().costs(half, QUICK) == (2 * QUICK.parameters,)
    assert Bytes().cost(half, replace(QUICK, quantised=True)) == QUICK.parameters
