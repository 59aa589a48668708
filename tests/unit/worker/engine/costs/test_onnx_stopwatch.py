"""Layers are timed between operators that compute nothing, and no file of theirs is left."""

import pytest

from worker.engine.costs import onnx_stopwatch
from worker.engine.costs.onnx_stopwatch import (
    adding_nanoseconds,
    chain_nanoseconds,
    nanoseconds,
    operator_nanoseconds,
)
from worker.engine.numerics.convolution import Convolution

SMALL = Convolution((8, 32, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1))
LARGE = Convolution((128, 32, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1))


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    """The folder that the profiler writes to."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_sixteen_times_the_arithmetic_takes_longer():
    assert nanoseconds(LARGE, (28, 28), 1) > nanoseconds(SMALL, (28, 28), 1)


@pytest.mark.parametrize(
    ("layer", "size"),
    [
        (Convolution((8, 16), (), (), ()), ()),
        (
            Convolution(
                (16, 8, 2, 2),
                (2, 2),
                ((0, 1), (1, 0)),
                (1, 1),
                transposed=True,
                output_padding=(1, 0),
            ),
            (6, 7),
        ),
    ],
)
def test_layers_of_other_kinds_are_timed_and_leave_no_file(layer, size, folder):
    assert nanoseconds(layer, size, 2) > 0
    assert adding_nanoseconds(layer, size, 2) > 0
    assert not list(folder.iterdir())


def test_a_layer_of_a_chain_is_timed_alone_by_its_share(folder):
    ones = (1, 1)
    small = Convolution((8, 8, 1, 1), ones, ((0, 0), (0, 0)), ones)
    large = Convolution((256, 256, 1, 1), ones, ((0, 0), (0, 0)), ones)
    assert 0 < chain_nanoseconds(small, (4, 4), 8) < chain_nanoseconds(large, (4, 4), 8)
    linear = Convolution((8, 8), (), (), ())
    assert chain_nanoseconds(linear, (), 2) > 0
    assert not list(folder.iterdir())


def test_an_operator_takes_a_time_of_its_own(monkeypatch):
    monkeypatch.setattr(onnx_stopwatch, "_RUNS", 1)
    assert operator_nanoseconds() > 0


def event(name, start, duration=1):
    return {"name": f"{name}_kernel_time", "ts": start, "dur": duration}


def test_what_runs_between_the_edges_counts_for_each_run():
    events = [
        event("layer", 2, 5),
        event("a_nchwc_", 1),
        event("reorder", 3, 2),
        event("other_", 4, 100),
        {"name": "layer_fence_before", "ts": 4, "dur": 100},
        event("behind_", 5),
        event("outside", 6, 100),
        event("before_", 7),
        event("layer", 8, 3),
        event("y_nchwc_", 9),
    ]
    assert onnx_stopwatch._spent(events) == [7000, 3000]
