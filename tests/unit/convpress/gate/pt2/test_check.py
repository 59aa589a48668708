"""The gate for torch.export archives also checks the files beside the program."""

import pytest
from support.pt2.archives import with_members

from convpress.gate.check import require_safe
from convpress.gate.pt2.archive import read_archive
from convpress.gate.pt2.check import require_safe_pt2
from convpress.limits import Limits
from convpress.refusal import Refusal


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model"


def test_a_text_beside_the_program_is_let_through(path):
    path.write_bytes(with_members({"extra/notes.txt": b"some notes"}))
    require_safe(path, "pt2", Limits())
    assert [member.name for member in read_archive(path).extras] == ["extra/notes.txt"]


@pytest.mark.parametrize(
    ("content", "limits", "code"),
    [
        (b"x" * 101, Limits(inflated_bytes=100), "model_over_limit"),
        (b"cos\nsystem\n(Vtrue\ntR.", Limits(), "model_unsafe"),
    ],
    ids=["large", "a pickle that calls"],
)
def test_a_file_beside_the_program_is_refused(path, content, limits, code):
    path.write_bytes(with_members({"extra/notes": content}))
    with pytest.raises(Refusal) as refusal:
        require_safe_pt2(path, limits)
    assert refusal.value.code == code
