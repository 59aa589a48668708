"""Downloads: resumed, verified, and whole or not at all; uploads that report their progress."""

import hashlib

import pytest

from convpress.client.downloads import PartialDownload, open_form_files
from convpress.client.errors import Corrupt

CONTENT = bytes(range(256)) * 8
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def target(tmp_path):
    return tmp_path / "net.onnx"


def partial(target, on_bytes=None, sha256=SHA256):
    return PartialDownload(target, sha256, len(CONTENT), on_bytes)


def test_an_attempt_starts_with_what_an_earlier_one_left(target):
    amounts = []
    with partial(target) as download:
        download.write(CONTENT[:1000])
    with partial(target, lambda *amount: amounts.append(amount)) as download:
        assert download.received == 1000
        download.write(CONTENT[1000:])
        assert download.is_complete
        assert download.finish() == target
    assert target.read_bytes() == CONTENT
    assert amounts == [(len(CONTENT), len(CONTENT))]
    assert list(target.parent.iterdir()) == [target]


def test_another_artifact_is_not_continued(target):
    with partial(target) as download:
        download.write(CONTENT[:1000])
    with partial(target, sha256="0" * 64) as download:
        assert download.received == 0


def test_a_restart_drops_what_is_there(target):
    with partial(target) as download:
        download.write(b"of another file")
        download.restart()
        assert download.received == 0
        download.write(CONTENT)
        download.finish()
    assert target.read_bytes() == CONTENT


def test_a_corrupt_file_neither_appears_nor_stays(target):
    with partial(target) as download:
        download.write(CONTENT[::-1])
        with pytest.raises(Corrupt, match="expected SHA-256"):
            download.finish()
    assert list(target.parent.iterdir()) == []


def test_progress_of_several_files_is_of_all_bytes(tmp_path):
    amounts = []
    paths = {"samples": tmp_path / "samples.npz", "model": tmp_path / "net.onnx"}
    paths["samples"].write_bytes(b"123")
    paths["model"].write_bytes(b"45678")
    with open_form_files(paths, lambda *amount: amounts.append(amount)) as files:
        for _, (_, file) in files:
            while file.read(2):
                pass
    assert amounts == [(2, 8), (3, 8), (5, 8), (7, 8), (8, 8)]
