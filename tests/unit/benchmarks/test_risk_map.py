"""The map from errors to losses: it finds the one that made the figures, network by network."""

import json

import numpy as np
import pytest
import risk_map
from risk_map import Case, Fold, cases_of, fitted, mapped

ERRORS = np.linspace(0.1, 1.2, 30)


def cases(network, factor=1.0):
    """Return cases whose losses are those of the map 0.8, 3 at a factor of the errors."""
    losses = mapped(factor * ERRORS, 0.8, 3.0)
    pairs = zip(ERRORS, losses, strict=True)
    return [Case(network, error, loss, 80 * loss) for error, loss in pairs]


def test_a_fit_finds_the_map():
    assert fitted(cases("one")) == pytest.approx((0.8, 3.0), abs=1e-4)


def test_a_network_is_predicted_by_the_others_and_its_factor_is_what_sets_it_apart():
    fold = Fold(
        [*cases("one"), *cases("two"), *cases("sensitive", factor=1.25)], "sensitive"
    )
    assert fold.predicted(1.0) == pytest.approx(mapped(ERRORS, 0.8, 3.0), abs=1e-4)
    assert fold.factors == pytest.approx(1.25, abs=1e-3)
    # losses of less than 1 % and more than 95 % tell no factor
    assert 0 < len(fold.factors) < len(ERRORS)


def test_each_network_counts_as_much_as_any_other():
    few, many = cases("few", factor=1.25), cases("many")
    assert fitted([*few, *many * 20]) == pytest.approx(fitted([*few, *many]), abs=1e-4)


def test_both_benchmarks_files_are_read(tmp_path):
    cells = [
        {"score": 60.0, "held_out": [0.3, 0.16], "agreement": 0.9},
        {"score": 40.0, "held_out": [0.3, 0.2], "agreement": 0.9, "spread_error": 0.7},
        None,
    ]
    denoiser = {
        "original": 30.0,
        "onnx": {"cells": [{"score": 29.0, "agreement": None}]},
    }
    accuracy = tmp_path / "accuracy.json"
    networks = {"a": {"original": 80.0, "onnx": {"cells": cells}}, "b": denoiser}
    accuracy.write_text(json.dumps({"networks": networks}))
    assert list(cases_of(accuracy)) == [
        Case("a", pytest.approx(0.4), 0.25, 20.0),
        Case("a", 0.7, 0.5, 40.0),
    ]
    risk = tmp_path / "risk.json"
    row = {
        "network": "c",
        "original": 50.0,
        "lost": -1.0,
        "agreement": 1.0,
        "spread_error": 0.1,
    }
    risk.write_text(json.dumps([row]))
    assert list(cases_of(risk)) == [Case("c", 0.1, 0.0, -1.0)]


def test_levels_that_mislead_are_counted():
    level = np.array([True, True, False])
    assert risk_map.mislead(level, np.array([True, False, True])) == "1 of 2"
