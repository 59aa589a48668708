"""The threads of models: more within a block alone."""

import torch

from worker.engine.formats.onnx.runtime.session_options import session_options
from worker.engine.numerics.threads import loaded_on, model_threads


def test_models_run_on_more_threads_if_they_are_loaded_within_the_block():
    with loaded_on(3):
        assert model_threads() == session_options().intra_op_num_threads == 3
    assert model_threads() == session_options().intra_op_num_threads == 1


def test_torch_has_one_thread_again_after_the_block():
    with loaded_on(2):
        torch.set_num_threads(model_threads())
    assert torch.get_num_threads() == 1
