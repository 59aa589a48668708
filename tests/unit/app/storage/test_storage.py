"""A key holds a whole file or none, in a folder and in a bucket."""

import secrets
from pathlib import Path

import pytest
from support.service.stored_files import put, read

from app.storage import ObjectStorage


def test_a_staged_file_appears_under_its_key_alone(storage, tmp_path):
    with storage.stage() as staged:
        staged.write(b"model")
        staged.flush()
        assert storage.size("models/a") is None
        storage.keep(Path(staged.name), "models/a")
    assert list(storage.keys("models/")) == ["models/a"]
    assert list(storage.staging.iterdir()) == []
    assert read(storage, "models/a", tmp_path) == b"model"


def test_a_large_file_comes_back_whole_and_a_second_time_it_is_the_same(
    storage, tmp_path
):
    content = secrets.token_bytes(12_000_000)
    for _ in range(2):
        put(storage, "models/large", content)
    assert storage.size("models/large") == len(content)
    assert read(storage, "models/large", tmp_path) == content


def test_a_key_is_listed_fetched_and_deleted(storage, tmp_path):
    for key in ("artifacts/job/a", "artifacts/job/b", "models/c"):
        put(storage, key, b"content")
    assert sorted(storage.keys("artifacts/")) == ["artifacts/job/a", "artifacts/job/b"]
    assert storage.size("models/c") == 7
    assert read(storage, "models/c", tmp_path) == b"content"
    for key in ("artifacts/job/a", "artifacts/job/b", "models/c", "models/c"):
        storage.delete(key)
    assert storage.size("models/c") is None
    assert list(storage.keys("artifacts/")) == []
    with pytest.raises(FileNotFoundError):
        storage.fetch("models/c", tmp_path / "nowhere")


def test_a_part_of_an_object_can_be_read_alone(bucket, tmp_path):
    storage = ObjectStorage(bucket, tmp_path)
    put(storage, "models/a", b"0123456789")
    assert b"".join(storage.read("models/a", 3, 6)) == b"345"
    assert b"".join(storage.read("models/a", 3, 3)) == b""


def test_room_is_what_the_disk_says(storage):
    assert storage.free_bytes() > 0
