"""An archive is read as its writers write it: one directory, one folder, and whole members."""

import io
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from convpress.gate import archive
from convpress.gate.check import require_safe
from convpress.limits import Limits
from convpress.refusal import Refusal

MODELS = Path(__file__).parents[3] / "models"


def test_compressed_members_may_grow_so_far_and_no_further(tmp_path):
    source = io.BytesIO((MODELS / "plain.traced.pt").read_bytes())
    path = tmp_path / "grown.pt"
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w") as new:
        for member in old.infolist():
            new.writestr(member, old.read(member))
        new.writestr("plain.traced/extra/note", b"x" * 100_000, zipfile.ZIP_DEFLATED)
    require_safe(path, "torchscript", Limits(inflation=1000))
    for tight in (Limits(inflation=20), Limits(inflation=1000, inflated_bytes=99_999)):
        with pytest.raises(Refusal) as refusal:
            require_safe(path, "torchscript", tight)
        assert refusal.value.code == "model_over_limit"


def packed(*names, method=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as new:
        for name in names:
            new.writestr(zipfile.ZipInfo(name), b"content of a member", method)
    return buffer.getvalue()


def members(content, directory_of=None, limits=None):
    """Read the members of an archive, by the directory of another one where it is named."""
    with zipfile.ZipFile(io.BytesIO(directory_of or content)) as directory:
        infos, start = directory.infolist(), directory.start_dir
    return archive.members(memoryview(content), infos, start, limits or Limits())


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_members_are_named_below_their_folder_and_read_whole(method):
    content = packed("net/a", "net/b/c", method=method)
    first, second = members(content)
    assert (first.name, second.name) == ("a", "b/c")
    assert archive.read(memoryview(content), second) == b"content of a member"


@pytest.mark.parametrize(
    ("method", "change"),
    [
        (zipfile.ZIP_STORED, {"crc": 7}),
        (zipfile.ZIP_DEFLATED, {"crc": 7}),
        (zipfile.ZIP_DEFLATED, {"size": 5}),
        (zipfile.ZIP_DEFLATED, {"size": 500}),
    ],
)
def test_a_member_that_is_not_as_it_states_is_damaged(method, change):
    content = packed("net/a", method=method)
    [member] = members(content)
    with pytest.raises(Refusal) as refusal:
        archive.read(memoryview(content), replace(member, **change))
    assert refusal.value.code == "model_invalid"


@pytest.mark.parametrize(
    "names",
    [("net/a", "other/b"), ("net/../a",), ("net//a",), ("/net/a",), ("net/a\x01",)],
)
def test_names_are_plain_and_in_one_folder(names):
    with pytest.raises(Refusal) as refusal:
        members(packed(*names))
    assert refusal.value.code in ("model_invalid", "model_unsafe")


def test_the_directory_and_the_members_agree():
    with pytest.raises(Refusal, match="another name, method or flags"):
        members(packed("net/a"), packed("net/b"))
    with pytest.raises(Refusal) as refusal:
        members(packed("net/a", "net/b"), limits=Limits(members=1))
    assert refusal.value.code == "model_over_limit"
