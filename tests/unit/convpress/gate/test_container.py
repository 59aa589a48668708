"""A file as the recognisers see it: names below the first folder of an archive."""

from pathlib import Path

import pytest

from convpress.gate.container import Container


@pytest.mark.parametrize(
    ("members", "inner"),
    [
        (None, set()),
        ((), set()),
        (("net/a", "other/b/c", "version"), {"a", "b/c", ""}),
    ],
)
def test_members_lose_their_first_folder(members, inner):
    file = Container(Path("net"), memoryview(b""), members)
    assert file.inner_members == inner
    assert all(file.has_inner(name) for name in inner)
    assert not file.has_inner("net/a")
