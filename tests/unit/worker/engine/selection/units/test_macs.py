"""Budgets of arithmetic."""

from types import SimpleNamespace

from support.engine.analyses import QUICK, analysed

from worker.engine.selection.units.macs import Macs


def test_amounts_are_written_in_flops():
    assert Macs().text(500) == "1000 FLOPs"
    assert Macs().reported(500) == {"macs": 500, "flops": 1000}


def test_a_model_costs_what_its_profile_says():
    opened = SimpleNamespace(profile=SimpleNamespace(macs=70))
    assert Macs().total(opened, []) == Macs().measured(opened) == 70
    assert Macs().posted(opened, 70) == 70


def test_a_candidate_costs_its_own_along_every_path():
    (site,) = analysed(QUICK, paths=(1000, 250)).sites
    assert Macs().cost(site, QUICK) == QUICK.macs
    assert Macs().costs(site, QUICK) == (400, 100)
