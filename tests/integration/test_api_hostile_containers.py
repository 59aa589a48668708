"""Hostile containers, uploaded to a real API: it refuses them, stays small, and serves others."""

import io
import struct
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest
from bundle_files import extended, headers_without_end, listed
from support.service.health import Health

ONNX = bytes([0x08, 0x0A, 0x3A, 0x00])
MIB = 1024**2
# In MiB. The API needs some 120 MiB before the first upload.
MOST_MEMORY = 150
# In seconds of the API's processor time. `make walls` prints the wait on a quiet machine; that of a
# test is not quiet.
LONGEST_WAIT = 5.0


def directory(entries, name_bytes):
    """A zip archive of a directory alone, whose entries have names of some length of a bundle."""
    listed = b"".join(
        struct.pack("<4s24xHHH12x", b"PK\x01\x02", name_bytes, 0, 0)
        + f"m/{number:x>{name_bytes - 7}}.onnx".encode()
        for number in range(entries)
    )
    count = min(entries, 0xFFFF)
    end = struct.pack(
        "<4sHHHHIIH", b"PK\x05\x06", 0, 0, count, count, len(listed), 30, 0
    )
    return b"PK\x03\x04" + bytes(26) + listed + end


def arrays(entries):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for number in range(entries):
            archive.writestr(f"{number}.npy", b"")
    return file.getvalue()


def bomb():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", bytes(64 * MIB))
    return file.getvalue()


LONG = {
    "a name of 24 MB": lambda: extended((tarfile.GNUTYPE_LONGNAME, b"a" * 24 * MIB)),
    "a note of 24 MB": lambda: extended(
        (tarfile.XHDTYPE, b"25165824 comment=" + b"a" * 24 * MIB)
    ),
    "a directory of 20,000 entries": lambda: directory(20_000, 110),
    "a directory of 100 MB": lambda: directory(100_000, 1000),
    "an extra field of countless parts": lambda: listed(
        extra=b"\x99\x99\0\0" * 1000, entries=250
    ),
    "a message of tiny fields": lambda: b"\x08\x07" * 4 * MIB,
    "a message of empty texts": lambda: b"\x08\x07" + b"\x12\x00" * 4 * MIB,
    "brackets": lambda: b"[" * 4 * MIB,
    "zeros": lambda: bytes(24 * MIB),
}
# Made when a test needs them.
ARCHIVES = {name: make for name, make, _ in headers_without_end()} | LONG
SAMPLES = {
    "countless arrays": lambda: arrays(5000),
    "a bomb": bomb,
    "a directory of 20,000 entries": lambda: directory(20_000, 110),
    "an array of objects": lambda: (
        b"\x93NUMPY\1\0\x00\x10{'descr': '|O', 'shape': " + b"(" * 4000
    ),
}


def memory(api):
    """The most memory that the API has used, in MiB."""
    status = Path(f"/proc/{api.process.pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) / 1024


def health_of(api):
    process = psutil.Process(api.process.pid)
    return Health(str(api.http.base_url), lambda: sum(process.cpu_times()[:2]))


@pytest.fixture(scope="module")
def api(api_server, tmp_path_factory):
    folder = tmp_path_factory.mktemp("containers")
    with api_server(folder, max_upload_bytes=str(256 * MIB)) as running:
        assert running.post().status_code == 202
        assert memory(running) < MOST_MEMORY - 20
        yield running


@pytest.fixture
def watched(api):
    """The API, of which memory and waits are looked at when the test ends."""
    with health_of(api) as health:
        yield api
    assert health.longest < LONGEST_WAIT
    assert memory(api) < MOST_MEMORY
    assert api.left_over() == []


@pytest.mark.parametrize("name", ARCHIVES)
def test_a_hostile_container_is_refused(watched, name):
    answer = watched.post(ARCHIVES[name]())
    assert answer.status_code == 422
    assert answer.json()["code"].startswith("model_")
    assert answer.json()["expected"]
    assert len(answer.content) < 2000


@pytest.mark.parametrize("field", ["samples", "evaluation"])
@pytest.mark.parametrize("name", SAMPLES)
def test_hostile_samples_are_refused(watched, name, field):
    files = {"model": ("net.onnx", ONNX), field: ("x.npz", SAMPLES[name]())}
    answer = watched.http.post("/jobs", data={"flops_budget": "0.5"}, files=files)
    assert (answer.status_code, answer.json()["code"]) == (422, f"{field}_invalid")


@pytest.mark.slow
def test_checks_of_many_uploads_at_once_take_the_memory_of_one(start_api):
    costly = [LONG["a directory of 20,000 entries"]()] * 6
    with start_api() as api:
        with (
            health_of(api) as health,
            ThreadPoolExecutor(len(costly)) as pool,
        ):
            answers = list(pool.map(api.post, costly))
        assert {answer.status_code for answer in answers} == {422}
        assert health.longest < LONGEST_WAIT
        # Each upload is held in part while it arrives: six honest ones of this size take 12 MiB.
        assert memory(api) < MOST_MEMORY + 4 * len(costly)
        assert api.post().status_code == 202


def test_a_form_of_countless_fields_is_refused(watched):
    fields = "&".join(f"{number}={'x' * 10_000}" for number in range(1000))
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    for path in ("/dashboard/sign-in", "/dashboard/jobs/1/again"):
        answer = watched.http.post(path, content=fields, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


def test_a_bundle_from_a_mac_is_taken(watched):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("export/net.onnx", ONNX)
        archive.writestr("__MACOSX/export/._net.onnx", b"\0\5\26\7")
        archive.writestr("export/.DS_Store", b"\0")
    assert watched.post(file.getvalue(), "export.zip").status_code == 202


def test_samples_of_numpy_are_taken(watched):
    file = io.BytesIO()
    np.savez(file, x=np.zeros((2, 3), np.float32))
    files = {"model": ("net.onnx", ONNX), "samples": ("x.npz", file.getvalue())}
    answer = watched.http.post("/jobs", data={"flops_budget": "0.5"}, files=files)
    assert answer.status_code == 202
