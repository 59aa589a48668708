"""The files of a child are stored only if they are valid, under hashes that the worker computes."""

import hashlib
import json
import os
import uuid

import pytest
from support.service.fake_engine import REPORT

from app.storage.local import LocalStorage
from convpress.limits import Limits
from worker.jobs import results
from worker.sandbox.messages import MalformedOutput

ONNX = bytes([0x08, 0x0A, 0x3A, 0x00])


@pytest.fixture
def output(tmp_path):
    folder = tmp_path / "scratch" / "output"
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(ONNX)
    (folder / "report.json").write_text(json.dumps(REPORT))
    return folder


JOB = uuid.UUID("6f2c8b1e-3d4a-4c5b-9e7f-0a1b2c3d4e5f")


@pytest.fixture
def storage(tmp_path):
    return LocalStorage(tmp_path / "storage")


def store(output, storage, largest=1000):
    return results.store(
        JOB,
        output / "model.onnx",
        output / "report.json",
        "onnx",
        largest=largest,
        limits=Limits(),
        storage=storage,
    )


def staged(storage):
    return list((storage.root / "staging").iterdir())


def test_a_result_has_the_first_operators_that_the_account_leaves_out(output, storage):
    unaccounted = [
        {"name": "n" * 300, "operator": "acme::Mix", "reason": "no rule"}
    ] * 21
    incomplete = REPORT | {"account_complete": False, "unaccounted": unaccounted}
    (output / "report.json").write_text(json.dumps(incomplete))
    result = store(output, storage, largest=20_000)
    assert len(result.unaccounted) == 20
    assert result.unaccounted[0] == unaccounted[0] | {"name": "n" * 200}


def test_files_are_stored_under_their_sums(output, storage):
    result = store(output, storage)
    assert result.macs_before == 100
    assert result.macs_after == 40
    assert (result.measured_error, result.risk_level) == (0.01, "unknown")
    assert result.artifact_bytes == len(ONNX)
    assert result.artifact_sha256 == hashlib.sha256(ONNX).hexdigest()
    assert (
        storage.path(f"artifacts/{JOB}/{result.artifact_sha256}").read_bytes() == ONNX
    )
    assert (
        json.loads(storage.path(f"artifacts/{JOB}/{result.report_sha256}").read_bytes())
        == REPORT
    )
    assert staged(storage) == []


def replace_by_link(path):
    path.rename(path.with_suffix(".real"))
    path.symlink_to(path.with_suffix(".real"))


def replace_by_pipe(path):
    path.unlink()
    os.mkfifo(path)


def replace_by_folder(path):
    path.unlink()
    path.mkdir()


def replace_folder_by_link(path):
    path.parent.rename(path.parent.with_name("elsewhere"))
    path.parent.symlink_to(path.parent.with_name("elsewhere"))


SPOIL = {
    "missing": lambda path: path.unlink(),
    "a link": replace_by_link,
    "a hard link": lambda path: os.link(path, path.with_suffix(".real")),
    "a pipe": replace_by_pipe,
    "a folder": replace_by_folder,
    "behind a link": replace_folder_by_link,
    "empty": lambda path: path.write_bytes(b""),
    "something else": lambda path: path.write_bytes(b"something else"),
    "sparse and huge": lambda path: os.truncate(path, 10**12),
}


@pytest.mark.parametrize("name", ["model.onnx", "report.json"])
@pytest.mark.parametrize("spoil", SPOIL.values(), ids=SPOIL)
def test_anything_but_a_plain_file_of_the_right_kind_is_refused(
    output, storage, name, spoil
):
    spoil(output / name)
    with pytest.raises(MalformedOutput):
        store(output, storage)
    assert staged(storage) == []


def test_an_artifact_of_the_other_format_is_refused(output, storage):
    with pytest.raises(MalformedOutput, match="onnx, not torchscript"):
        results.store(
            JOB,
            output / "model.onnx",
            output / "report.json",
            "torchscript",
            largest=1000,
            limits=Limits(),
            storage=storage,
        )
    assert staged(storage) == []
