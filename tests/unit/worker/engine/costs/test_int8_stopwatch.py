"""Layers in int8 are timed by their own operator, and conversions by theirs."""

from worker.engine.costs.int8_stopwatch import conversion_nanoseconds, int8_nanoseconds
from worker.engine.costs.plans import PLANS, conversion_plan


def test_a_layer_in_int8_is_timed_by_its_own_operator(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    small, large = (PLANS["3x3"].layer(width, width) for width in (16, 64))
    least = int8_nanoseconds(small, (28, 28), 1)
    assert int8_nanoseconds(large, (28, 28), 1) > least > 0
    assert int8_nanoseconds(PLANS["linear"].layer(64, 64), (), 4) > 0
    layer = conversion_plan().layer(64, 1)
    assert conversion_nanoseconds(layer, (112, 112), 1) > conversion_nanoseconds(
        layer, (4, 4), 1
    )
    assert not list(tmp_path.iterdir())
