"""Budgets of stored weights."""

from types import SimpleNamespace

from support.engine.analyses import QUICK, analysed

from worker.engine.selection.units.parameters import Parameters


def test_amounts_are_written_in_parameters():
    assert Parameters().text(12) == "12 parameters"
    assert Parameters().reported(12) == {"parameters": 12}


def test_all_weights_of_a_file_count():
    opened = SimpleNamespace(parameters=70)
    assert Parameters().total(opened, []) == Parameters().measured(opened) == 70
    (site,) = analysed(QUICK, paths=(1000, 250)).sites
    assert Parameters().costs(site, QUICK) == (QUICK.parameters,)
