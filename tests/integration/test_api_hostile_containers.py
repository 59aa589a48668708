"""Hostile containers, uploaded to a real API: it refuses them, stays small, and serves others."""

import io
import struct
import tarfile
import threading
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
from bundle_files import extended, headers_without_end, listed

ONNX = bytes([0x08, 0x0A, 0x3A, 0x00])
MIB = 1024**2
# In MiB. The API needs some 120 MiB before the first upload.
MOST_MEMORY = 150
# In seconds. On a quiet machine an answer takes a hundredth; the machine of a test is not quiet.
LONGEST_WAIT = 5.0


def directory(entries, name_bytes):
    """A zip archive of a directory alone, whose entries have names of some length."""
    listed = b"".join(
        struct.pack("<4s24xHHH12x", b"PK\x01\x02", name_bytes, 0, 0)
        + f"m/{number}".encode().ljust(name_bytes, b"x")
        for number in range(entries)
    )
    count = min(entries, 0xFFFF)
    end = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, count, count, len(listed), 30, 0)
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
    "a name of 48 MB": extended((tarfile.GNUTYPE_LONGNAME, b"a" * 48 * MIB)),
    "a note of 48 MB": extended((tarfile.XHDTYPE, b"50331648 comment=" + b"a" * 48 * MIB)),
    "a directory of 25,000 entries": directory(25_000, 110),
    "a directory of 100 MB": directory(100_000, 1000),
    "an extra field of countless parts": listed(extra=b"\x99\x99\0\0" * 1000, entries=250),
    "a message of tiny fields": b"\x08\x07" * 16 * MIB,
    "a message of empty texts": b"\x08\x07" + b"\x12\x00" * 16 * MIB,
    "brackets": b"[" * 16 * MIB,
    "zeros": bytes(48 * MIB),
}
SAMPLES = {
    "countless arrays": arrays(20_000),
    "a bomb": bomb(),
    "a directory of 25,000 entries": directory(25_000, 110),
    "an array of objects": b"\x93NUMPY\1\0\x00\x10" + b"{'descr': '|O', 'shape': " + b"(" * 4000,
}


def memory(api):
    """The most memory that the API has used, in MiB."""
    status = Path(f"/proc/{api.process.pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) / 1024


@pytest.fixture(scope="module")
def api(api_server, tmp_path_factory):
    folder = tmp_path_factory.mktemp("containers")
    with api_server(folder, max_upload_bytes=str(256 * MIB)) as running:
        assert running.post().status_code == 202
        assert memory(running) < MOST_MEMORY - 20
        yield running


class Health:
    """Asks for the health of the API without a break, and notes the longest wait."""

    def __init__(self, api):
        self.waits = []
        self._url = str(api.http.base_url)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def _ask(self):
        with httpx.Client(base_url=self._url, timeout=120) as http:
            # Once at least, however short a test is.
            while not self.waits or not self._ended.wait(0.02):
                started = time.monotonic()
                assert http.get("/healthz").status_code == 200
                self.waits.append(time.monotonic() - started)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        self._thread.join()


@pytest.fixture
def watched(api):
    """The API, of which memory and waits are looked at when the test ends."""
    with Health(api) as health:
        yield api
    assert max(health.waits) < LONGEST_WAIT
    assert memory(api) < MOST_MEMORY
    assert api.left_over() == []


ARCHIVES = {name: content for name, content, _ in headers_without_end()} | LONG


@pytest.mark.parametrize("name", ARCHIVES)
def test_a_hostile_container_is_refused(watched, name):
    answer = watched.post(ARCHIVES[name])
    assert answer.status_code == 422
    assert answer.json()["code"].startswith("model_")
    assert answer.json()["expected"]
    assert len(answer.content) < 2000


@pytest.mark.parametrize("name", SAMPLES)
def test_hostile_samples_are_refused(watched, name):
    files = {"model": ("net.onnx", ONNX), "samples": ("x.npz", SAMPLES[name])}
    answer = watched.http.post("/jobs", data={"flops_budget": "0.5"}, files=files)
    assert (answer.status_code, answer.json()["code"]) == (422, "samples_invalid")


def test_many_at_once_take_no_more_memory_than_one(watched):
    costly = [LONG["a directory of 25,000 entries"], ARCHIVES["tar-of-countless-members"]] * 6
    with ThreadPoolExecutor(len(costly)) as pool:
        answers = list(pool.map(watched.post, costly))
    assert {answer.status_code for answer in answers} == {422}
    assert watched.post().status_code == 202


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
