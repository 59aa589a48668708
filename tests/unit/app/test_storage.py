"""A key holds a whole file or none."""

from pathlib import Path

import pytest

from app.storage.local import LocalStorage


@pytest.fixture
def storage(tmp_path):
    return LocalStorage(tmp_path / "storage")


def files(storage):
    return sorted(str(path.relative_to(storage.root)) for path in storage.root.rglob("*") if path.is_file())


def test_a_staged_file_appears_under_its_key_alone(storage):
    with storage.stage() as staged:
        staged.write(b"model")
    assert not storage.path("models/a").exists()
    storage.keep(Path(staged.name), "models/a")
    assert files(storage) == ["models/a"]
    assert storage.path("models/a").read_bytes() == b"model"


def put(storage, key, content):
    with storage.stage() as staged:
        staged.write(content)
        staged.flush()
        storage.prepare(Path(staged.name), key)
        storage.keep(Path(staged.name), key)


def test_a_reader_keeps_its_file_while_it_is_replaced(storage):
    put(storage, "artifacts/job/b", b"same")
    with storage.path("artifacts/job/b").open("rb") as reader:
        put(storage, "artifacts/job/b", b"same")
        assert reader.read() == b"same"


def test_a_key_is_listed_fetched_and_deleted(storage, tmp_path):
    for key in ("artifacts/job/a", "artifacts/job/b", "models/c"):
        put(storage, key, b"content")
    assert sorted(storage.keys("artifacts/")) == ["artifacts/job/a", "artifacts/job/b"]
    assert storage.size("models/c") == 7
    storage.fetch("models/c", tmp_path / "there")
    assert (tmp_path / "there").read_bytes() == b"content"
    for key in ("artifacts/job/a", "artifacts/job/b", "models/c", "models/c"):
        storage.delete(key)
    assert storage.size("models/c") is None
    assert list(storage.keys("artifacts/")) == []
    assert not storage.path("artifacts/job").exists()
    with pytest.raises(FileNotFoundError):
        storage.fetch("models/c", tmp_path / "nowhere")


def test_room_is_what_the_disk_says(storage):
    assert storage.free_bytes() > 0
