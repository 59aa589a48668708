"""A store in a bucket: signed addresses, reads in pieces, and a bucket that does not answer."""

from pathlib import Path

import httpx
import obstore
import pytest
from support.service.stored_files import put

from app.storage import ObjectStorage, StorageUnavailable, objects


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
    assert (
        b"".join(objects.read_object(storage._store, "models/a", 0, 10, tag))
        == b"0123456789"
    )
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
