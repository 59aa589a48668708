"""A TorchScript archive has code, constants and data."""

from pathlib import Path

import pytest

from convpress.gate.container import Container
from convpress.gate.torchscript.recognise import recognise_torchscript

MEMBERS = ("net/code/a.py", "net/constants.pkl", "net/data.pkl")


@pytest.mark.parametrize(
    ("members", "is_archive"),
    [
        (MEMBERS, True),
        ((*MEMBERS, "net/other"), True),
        (MEMBERS[:2], False),
        (MEMBERS[1:], False),
        (("code/a.py", "constants.pkl", "data.pkl"), False),
        (None, False),
    ],
)
def test_it_has_all_three(members, is_archive):
    file = Container(Path("net.pt"), memoryview(b""), members)
    assert recognise_torchscript(file) is is_archive
