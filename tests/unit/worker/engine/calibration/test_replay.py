"""Checkpointed runs: the same values as in a plain run, however little memory is held."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.engine.programs import chained

from worker.engine.calibration.replay import (
    CheckpointedRun,
    checkpoints,
    measure_footprints,
    spread,
)
from worker.engine.program import Program, Step, StepError

BATCHES = [{"v0": torch.full((2, 4), float(at))} for at in range(3)]


def run_of(program, most_bytes):
    footprints = measure_footprints(program, BATCHES[0])
    return CheckpointedRun(
        program, BATCHES, checkpoints(footprints, len(BATCHES), most_bytes)
    )


def counting(runs, factor=1):
    """A step's function that counts its runs and gives `factor` times as many values."""

    def step(x):
        runs.append(x)
        return torch.cat([x + 1] * factor)

    return step


@given(st.integers(0, 600), st.lists(st.integers(0, 4), min_size=1).map(sorted))
def test_the_inputs_of_a_step_are_the_outputs_of_those_before_it(most_bytes, positions):
    program = chained(*(counting([]) for _ in range(5)))
    run = run_of(program, most_bytes)
    for position in positions:
        values = [float(x[0, 0]) for (x,) in run.inputs_of(position, program.steps)]
        assert values == [position + at for at in range(3)]


def test_with_enough_memory_every_step_runs_once_and_with_none_all_run_again():
    for most_bytes, expected in ((1 << 20, [1, 1, 1]), (0, [3, 2, 1])):
        runs = [[], [], []]
        program = chained(*map(counting, runs), torch.relu)
        run = run_of(program, most_bytes)
        before = list(map(len, runs))  # one batch, to measure what is held
        for position in (1, 2, 3):
            list(run.inputs_of(position, program.steps))
        assert [
            (len(each) - first) / 3 for each, first in zip(runs, before, strict=True)
        ] == expected


@given(st.integers(0, 600), st.sets(st.integers(0, 4), min_size=1).map(sorted))
def test_inputs_and_outputs_of_a_step_come_together(most_bytes, positions):
    program = chained(*(counting([]) for _ in range(5)))
    run = run_of(program, most_bytes)
    for position in positions:
        seen = [
            (float(x[0, 0]), float(y[0, 0]))
            for (x,), (y,) in run.inputs_and_outputs_of(position, program.steps)
        ]
        assert seen == [(position + at, position + at + 1) for at in range(3)]


def test_a_step_whose_outputs_were_asked_for_does_not_run_again():
    runs = [[], [], []]
    program = chained(*map(counting, runs))
    run = run_of(program, 1 << 20)
    for each in runs:
        each.clear()
    for position in range(3):
        list(run.inputs_and_outputs_of(position, program.steps))
    assert [len(each) / 3 for each in runs] == [1, 1, 1]


@pytest.mark.parametrize(
    ("most", "expected"), [(1, [0]), (2, [0, 2]), (3, [0, 1, 2]), (9, [0, 1, 2])]
)
def test_some_batches_are_spread_over_all(most, expected):
    assert [float(batch["v0"][0, 0]) for batch in spread(BATCHES, most)] == expected


def test_checkpoints_lie_behind_wide_layers():
    """Wide values are computed again at each step; behind the narrow ones the run goes on."""
    runs = [[], [], [], []]
    narrow = lambda x: x[:2]  # noqa: E731
    program = chained(
        counting(runs[0], 8),
        counting(runs[1]),
        narrow,
        counting(runs[2]),
        counting(runs[3]),
    )
    run = run_of(program, 3 * 2 * 4 * 4)
    for each in runs:
        each.clear()
    for position in range(5):
        list(run.inputs_of(position, program.steps))
    assert [len(each) / 3 for each in runs] == [3, 2, 1, 0]


def test_steps_may_be_others_than_the_programs():
    program = chained(torch.relu, torch.relu, torch.relu)
    doubled = Step("Double", ("v0",), ("v1",), lambda x: (2 * x,))
    run = run_of(program, 0)
    steps = [doubled, *program.steps[1:]]
    assert [float(x[0, 0]) for (x,) in run.inputs_of(2, steps)] == [0, 2, 4]


def test_footprints_are_the_bytes_before_and_during_a_step():
    add = Step("Add", ("v1", "v0", "one"), ("v2",), lambda a, b, c: (a + b + c,))
    first = Step("Neg", ("v0",), ("v1",), lambda x: (-x,))
    program = Program(("v0",), ("v2",), {"one": torch.ones(())}, (first, add))
    assert measure_footprints(program, {"v0": torch.zeros(2, 3)}) == [
        (24, 48),
        (48, 72),
    ]


def test_the_error_of_a_step_names_its_operator():
    def split_in_seven(x):
        return x.reshape(7, -1)

    program = chained(split_in_seven, torch.relu)
    with pytest.raises(
        StepError, match=r"split_in_seven says: .*invalid for input of size"
    ):
        measure_footprints(
            program, {"v0": torch.from_numpy(np.zeros((2, 4), np.float32))}
        )
