"""A torch.export archive has a program as JSON, and nothing compiled."""

from pathlib import Path

import pytest

from convpress.gate.container import Container
from convpress.gate.pt2.recognise import recognise_pt2

MEMBERS = ("net/archive_format", "net/models/model.json")


@pytest.mark.parametrize(
    ("members", "is_archive"),
    [
        (MEMBERS, True),
        ((*MEMBERS, "net/data/weights/weight_0"), True),
        (MEMBERS[:1], False),
        (MEMBERS[1:], False),
        (("net/archive_format", "net/models/a/model.json"), False),
        ((*MEMBERS, "net/data/aotinductor/model.so"), False),
        ((*MEMBERS, "net/data/mtia.bin"), False),
        (None, False),
    ],
)
def test_it_has_a_program_and_nothing_compiled(members, is_archive):
    file = Container(Path("net.pt2"), memoryview(b""), members)
    assert recognise_pt2(file) is is_archive
