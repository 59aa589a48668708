"""The archive of a program: what torch cannot write again has a refusal."""

import pytest
import torch
from support.pt2.archives import SMALL

from convpress.refusal import Code, Refusal
from worker.engine.formats.pt2 import file


def test_a_program_that_torch_reads_but_does_not_write_is_refused(tmp_path):
    with file.without_samples(SMALL) as copy:
        program = file.load(copy)
    # torch takes the name of a function from a note beside a node, and a module is none
    for node in program.graph.nodes:
        node.meta["source_fn_stack"] = [("a", torch.nn)]
    with pytest.raises(Refusal, match="cannot write it again") as refusal:
        file.save(program, tmp_path / "out.pt2", {})
    assert refusal.value.code == Code.MODEL_UNSUPPORTED
