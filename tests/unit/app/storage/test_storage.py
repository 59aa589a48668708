"""A key holds a whole file or none, in a folder and in a bucket."""

import secrets
import threading
from pathlib import Path

import httpx
import obstore
import pytest

from app.storage import LocalStorage, ObjectStorage, StorageUnavailable, objects


@pytest.fixture
def local(tmp_path):
    return LocalStorage(tmp_path / "storage")


@pytest.fixture(params=["local", "bucket"])
def storage(request, tmp_path):
    if request.param == "local":
        return request.getfixturevalue("local")
    return ObjectStorage(request.getfixturevalue("bucket"), tmp_path / "staging")


def read(storage, key, tmp_path):
    target = tmp_path / secrets.token_hex(4)
    storage.fetch(key, target)
    return target.read_bytes()


def test_a_staged_file_appears_under_its_key_alone(storage, tmp_path):
    with storage.stage() as staged:
        staged.write(b"model")
        staged.flush()
        assert storage.size("models/a") is None
        storage.keep(Path(staged.name), "models/a")
    assert list(storage.keys("models/")) == ["models/a"]
    assert list(storage.staging.iterdir()) == []
    assert read(storage, "models/a", tmp_path) == b"model"


def test_a_large_file_comes_back_whole_and_a_second_time_it_is_the_same(storage, tmp_path):
    content = secrets.token_bytes(12_000_000)
    for _ in range(2):
        put(storage, "models/large", content)
    assert storage.size("models/large") == len(content)
    assert read(storage, "models/large", tmp_path) == content


def put(storage, key, content):
    with storage.stage() as staged:
        staged.write(content)
        staged.flush()
        storage.prepare(Path(staged.name), key)
        storage.keep(Path(staged.name), key)


def test_a_file_can_be_fetched_at_any_moment_while_the_same_bytes_are_kept_once_more(
    local, tmp_path
):
    """The kernel looks up a name and then links its file, which may be replaced in between."""
    put(local, "models/a", b"same")
    is_over = threading.Event()

    def keep_again():
        while not is_over.is_set():
            put(local, "models/a", b"same")

    keeping = [threading.Thread(target=keep_again) for _ in range(2)]
    for thread in keeping:
        thread.start()
    try:
        for number in range(3000):
            local.fetch("models/a", tmp_path / str(number))
    finally:
        is_over.set()
        for thread in keeping:
            thread.join()
    assert {(tmp_path / str(number)).read_bytes() for number in range(3000)} == {b"same"}


def test_a_name_that_is_replaced_while_it_is_linked_is_read_instead(local, tmp_path, monkeypatch):
    def replaced(source, target):
        raise FileNotFoundError(source)

    put(local, "models/a", b"same")
    monkeypatch.setattr("os.link", replaced)
    assert read(local, "models/a", tmp_path) == b"same"
    with pytest.raises(FileNotFoundError):
        local.fetch("models/b", tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_a_reader_keeps_its_file_while_it_is_replaced(local):
    put(local, "artifacts/job/b", b"same")
    with local.path("artifacts/job/b").open("rb") as reader:
        put(local, "artifacts/job/b", b"same")
        assert reader.read() == b"same"


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


def test_no_empty_folders_pile_up(local):
    put(local, "artifacts/job/a", b"x")
    local.delete("artifacts/job/a")
    assert not local.path("artifacts/job").exists()


def test_a_part_of_an_object_can_be_read_alone(bucket, tmp_path):
    storage = ObjectStorage(bucket, tmp_path)
    put(storage, "models/a", b"0123456789")
    assert b"".join(storage.read("models/a", 3, 6)) == b"345"
    assert b"".join(storage.read("models/a", 3, 3)) == b""


def test_a_signed_address_serves_who_has_no_key(bucket, tmp_path):
    storage = ObjectStorage(bucket, tmp_path)
    put(storage, "models/a", b"content")
    assert httpx.get(storage.sign("models/a", 60)).content == b"content"


def test_an_object_is_read_in_pieces_that_are_all_of_one(bucket, tmp_path, monkeypatch):
    storage = ObjectStorage(bucket, tmp_path)
    put(storage, "models/a", b"0123456789")
    monkeypatch.setattr(objects, "_PIECE_BYTES", 3)
    assert list(storage.read("models/a", 1, 9)) == [b"123", b"456", b"78"]
    tag = obstore.head(storage._store, "models/a")["e_tag"]
    assert b"".join(objects.read_object(storage._store, "models/a", 0, 10, tag)) == b"0123456789"
    pieces = objects.read_object(storage._store, "models/a", 0, 10, tag)
    assert next(pieces) == b"012"
    obstore.put(storage._store, "models/a", b"9876543210")
    with pytest.raises(StorageUnavailable):
        list(pieces)


def test_a_store_that_is_away_is_told_in_one_line(tmp_path, monkeypatch, bucket):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setattr(objects, "_RETRY", {"max_retries": 0})
    storage = ObjectStorage(bucket, tmp_path)
    with storage.stage() as staged:
        for ask in (
            lambda: storage.size("models/a"),
            lambda: storage.keep(Path(staged.name), "models/a"),
            lambda: storage.delete("models/a"),
            lambda: list(storage.keys("models/")),
        ):
            with pytest.raises(StorageUnavailable) as caught:
                ask()
            assert "\n" not in str(caught.value)


def test_room_is_what_the_disk_says(storage):
    assert storage.free_bytes() > 0
