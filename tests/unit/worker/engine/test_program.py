"""Programs drop each value after its last use, and run with watches and replacements."""

import pytest
import torch

from worker.engine.program import Program, Step, StepError, compute, resume, run

DOUBLE = Step("double", ("x",), ("a",), lambda x: (2 * x,), site="layer")
SPLIT = Step("split", ("a",), ("b", "c"), lambda a: (a + 1, a + 2))
ADD = Step("add", ("b", "k"), ("y",), lambda b, k: (b + k,))
PROGRAM = Program(("x",), ("y", "a"), {"k": 10}, (DOUBLE, SPLIT, ADD))


def test_values_are_needed_until_their_last_use_and_outputs_stay():
    # `c` is used by nothing: it is needed no more as soon as it is there
    assert PROGRAM.last_uses == (("x",), ("c",), ("b",))


def test_a_program_gives_its_outputs_in_order():
    assert run(PROGRAM, {"x": 3}) == (17, 6)


def test_a_program_goes_on_from_the_values_that_a_step_takes():
    assert resume(PROGRAM, {"a": 5, "k": 1}, 1) == (7, 5)


def test_a_site_is_replaced_and_a_watch_sees_each_step_before_it_runs():
    seen = []
    outputs = run(
        PROGRAM,
        {"x": 3},
        {"layer": lambda x: 100 * x},
        lambda step, inputs: seen.append((step.op, inputs)),
    )
    assert outputs == (311, 300)
    assert seen == [("double", [3]), ("split", [300]), ("add", [301, 10])]


def fail(error):
    def run_step(*_):
        raise error

    return Step("conv", (), ("y",), run_step)


def test_an_error_of_an_operator_is_one_line_with_its_name():
    with pytest.raises(StepError, match=r"^conv says: sizes differ$"):
        compute(fail(RuntimeError("sizes differ\nTraceback ...")), [])
    with pytest.raises(StepError, match=r"^conv says: KeyError$"):
        compute(fail(KeyError()), [])
    with pytest.raises(StepError) as raised:
        compute(fail(RuntimeError("x" * 10_000)), [])
    assert len(str(raised.value)) < 400


@pytest.mark.parametrize(
    "error",
    [MemoryError("full"), torch.OutOfMemoryError("full")],
    ids=["host", "device"],
)
def test_a_lack_of_memory_is_no_fault_of_the_step(error):
    with pytest.raises(MemoryError, match="full"):
        compute(fail(error), [])
