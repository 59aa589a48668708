"""An archive is refused where its tensors claim more bytes than it holds."""

import torch
from support.torchscript.damaged_archives import refusal_of, rewritten


def test_a_tensor_that_claims_more_bytes_than_there_are_is_refused(tmp_path):
    """Torch itself would load it, and read on in the memory behind."""
    path = rewritten(
        tmp_path,
        lambda name, content: content[:-1] if name.endswith("/data/0") else content,
    )
    assert torch.jit.load(path).state_dict()["0.weight"].shape == (4, 3, 3, 3)
    assert (
        "a tensor of 432 bytes lies in data/0, which holds 431"
        in refusal_of(path).detail
    )


def test_an_account_of_tensors_is_read_without_importing_what_it_names(tmp_path):
    mark = tmp_path / "mark"
    shell = b"cposix\nsystem\n(Vtouch " + str(mark).encode() + b"\ntR."
    refusal_of(
        rewritten(
            tmp_path,
            lambda name, content: shell if name.endswith("/constants.pkl") else content,
        )
    )
    assert not mark.exists()
