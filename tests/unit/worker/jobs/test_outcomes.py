"""What an outcome means for its job."""

from worker.jobs import outcomes
from worker.sandbox.run import Crashed, Lost


def test_a_crash_is_not_tried_again_and_a_lost_process_is():
    assert not outcomes.is_retried(Crashed("it was killed by signal 11", ""), 1, 3)
    assert outcomes.is_retried(Lost("it was killed by signal 9", ""), 1, 3)
    assert not outcomes.is_retried(Lost("it was killed by signal 9", ""), 3, 3)
