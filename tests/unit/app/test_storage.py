"""A key holds a whole file or none."""

from pathlib import Path

import pytest

from app.storage import Storage


@pytest.fixture
def storage(tmp_path):
    return Storage(tmp_path / "storage")


def files(storage):
    return sorted(str(path.relative_to(storage.root)) for path in storage.root.rglob("*") if path.is_file())


def test_a_staged_file_appears_under_its_key_alone(storage):
    with storage.stage() as staged:
        staged.write(b"model")
    assert not storage.path("models/a").exists()
    storage.keep(Path(staged.name), "models/a")
    assert files(storage) == ["models/a"]
    assert storage.path("models/a").read_bytes() == b"model"


def test_a_file_is_copied_in_and_replaces_its_like(storage, tmp_path):
    source = tmp_path / "made"
    source.write_bytes(b"x" * 3_000_000)
    for _ in range(2):
        storage.put(source, "artifacts/b")
    assert files(storage) == ["artifacts/b"]
    assert storage.path("artifacts/b").read_bytes() == source.read_bytes()
    assert source.exists()


def test_a_reader_keeps_its_file_while_it_is_replaced(storage, tmp_path):
    source = tmp_path / "made"
    source.write_bytes(b"same")
    storage.put(source, "artifacts/b")
    with storage.path("artifacts/b").open("rb") as reader:
        storage.put(source, "artifacts/b")
        assert reader.read() == b"same"


def test_room_is_what_the_disk_says(storage):
    assert storage.free_bytes() > 0
