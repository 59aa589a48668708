"""The options of sessions."""

import pytest

from worker.engine.formats.onnx.runtime.session_options import session_options
from worker.engine.numerics.threads import model_threads


@pytest.mark.parametrize(("prepacked", "is_disabled"), [(False, "1"), (True, "0")])
def test_weights_are_copied_only_where_that_is_asked_for(prepacked, is_disabled):
    options = session_options(prepacked=prepacked)
    key = "session.disable_prepacking"
    assert options.get_session_config_entry(key) == is_disabled


def test_sessions_have_few_threads_that_do_not_spin():
    options = session_options()
    assert options.intra_op_num_threads == model_threads()
    assert options.inter_op_num_threads == 1
    key = "session.intra_op.allow_spinning"
    assert options.get_session_config_entry(key) == "0"
