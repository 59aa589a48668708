"""All pickles of an archive are checked within one budget of steps."""

import pytest

from convpress.gate.torchscript.pickles import PickleCheck, StepBudget
from convpress.limits import Limits
from convpress.refusal import Refusal


def test_all_pickles_of_an_archive_have_one_budget():
    limits = Limits(pickle_steps=1000)
    check = PickleCheck({}, limits, StepBudget(limits))
    pickle = b"\x80\x02](" + b"N" * 900 + b"e."
    for _ in range(4):
        check.require_safe(pickle, "data.pkl")
    with pytest.raises(Refusal, match="too many steps"):
        check.require_safe(pickle, "data.pkl")
