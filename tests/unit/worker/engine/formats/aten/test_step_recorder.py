"""Steps on constants are computed at once; of the others those that the outputs need remain."""

import pytest
import torch

from worker.engine.formats.aten.layers import UNKNOWN
from worker.engine.formats.aten.step_recorder import StepRecorder
from worker.engine.program import NoProgramError, Norm, Step, run


def product(takes, gives, **role):
    return Step("aten::mul", takes, (gives,), lambda a, b: (a * b,), **role)


@pytest.fixture
def recorder():
    recorder = StepRecorder()
    recorder.constants |= {"two": 2, "ones": torch.ones(3)}
    return recorder


def test_a_step_on_constants_is_a_constant_unless_it_is_random(recorder):
    recorder.add(product(("ones", "two"), "twos"), is_random=False)
    recorder.add(product(("ones", "two"), "drawn"), is_random=True)
    assert recorder.constant("twos").tolist() == [2, 2, 2]
    assert recorder.constant("drawn") is UNKNOWN


def test_numbers_are_built_in_and_tensors_are_taken_by_name(recorder):
    recorder.add(product(("x", "two"), "a"), is_random=False)
    recorder.add(product(("a", "ones"), "b"), is_random=False)
    recorder.add(product(("a", "a"), "unused"), is_random=False)
    program = recorder.program(["x"], ["b"])
    assert [step.takes for step in program.steps] == [("x",), ("a", "ones")]
    assert list(program.constants) == ["ones"]
    (result,) = run(program, {"x": torch.arange(3.0)})
    assert result.tolist() == [0, 2, 4]


@pytest.mark.parametrize(
    "role",
    [{"site": "conv"}, {"norm": Norm(torch.zeros(3), torch.ones(3), None, None, 0.1)}],
)
def test_a_site_and_a_normalisation_take_their_data_alone(recorder, role):
    recorder.add(product(("x", "ones"), "y", **role), is_random=False)
    program = recorder.program(["x"], ["y"])
    assert program.steps[0].takes == ("x",)
    assert not program.constants


def test_a_step_that_fails_on_constants_is_said(recorder):
    step = Step("aten::view", ("ones",), ("y",), lambda x: (x.view(2),))
    with pytest.raises(NoProgramError, match="aten::view fails: shape"):
        recorder.add(step, is_random=False)
