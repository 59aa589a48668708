"""A store in a folder while files are replaced, read and deleted."""

import threading

import pytest
from support.service.stored_files import put, read

from app.storage import LocalStorage


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
    assert {(tmp_path / str(number)).read_bytes() for number in range(3000)} == {
        b"same"
    }


def test_a_name_that_is_replaced_while_it_is_linked_is_read_instead(
    local, tmp_path, monkeypatch
):
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


def test_a_folder_in_the_place_of_a_file_is_no_file(local):
    (local.root / "key").mkdir()
    assert local.info("key") is None
    assert local.size("key") is None


def test_no_empty_folders_pile_up(local):
    put(local, "artifacts/job/a", b"x")
    local.delete("artifacts/job/a")
    assert not local.path("artifacts/job").exists()


def test_a_store_whose_folder_is_gone_does_not_come_back_empty(tmp_path):
    (tmp_path / "data").mkdir()
    storage = LocalStorage(tmp_path / "data" / "storage")
    staged = tmp_path / "staged"
    staged.write_bytes(b"x")
    (tmp_path / "data").rename(tmp_path / "away")
    with pytest.raises(FileNotFoundError):
        storage.keep(staged, "artifacts/job/file")
    with pytest.raises(FileNotFoundError):
        LocalStorage(tmp_path / "data" / "storage")
    assert not (tmp_path / "data").exists()
