"""Between the pieces of an upload, the heap keeps its memory."""

import subprocess
import sys

import pytest

from app import memory

PIECES = """
import resource
from app import memory
{setup}
def receive():
    pieces = [bytes(bytearray(100_000)) for _ in range(20)]
for _ in range(20):
    receive()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(100):
    receive()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(setup):
    """Return the pages that the system clears for a hundred rounds of pieces."""
    code = PIECES.format(setup=setup)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, text=True
    )
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="the heap of glibc")
def test_the_system_clears_far_fewer_pages():
    assert 10 * faults("memory.keep_heap()") < faults("")


def test_another_c_library_is_left_as_it_is(monkeypatch):
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda _: object())
    memory.keep_heap()
