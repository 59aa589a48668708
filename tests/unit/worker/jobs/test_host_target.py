"""The target of a host, by what Linux says of its processor."""

import pytest

from convpress.targets import TARGETS
from worker.jobs import host_target as module
from worker.jobs.host_target import host_target, target_of

WIDE = "avx2 fma avx512f avx512bw avx512dq avx512vl"


@pytest.mark.parametrize(
    ("cpuinfo", "target"),
    [
        (f"processor\t: 0\nflags\t\t: fpu {WIDE}\nflags\t\t: fpu", "x86-avx512"),
        ("flags : fpu avx2 fma avx512f", "x86-avx2"),
        ("flags : fpu sse4_2 avx2", None),
        ("Features : fp asimd", None),
        ("", None),
    ],
)
def test_the_widest_vectors_of_a_processor_name_its_target(cpuinfo, target):
    assert target_of(cpuinfo) == target
    assert target is None or target in TARGETS


def test_another_architecture_has_no_table(monkeypatch):
    monkeypatch.setattr(module.platform, "machine", lambda: "aarch64")
    host_target.cache_clear()
    assert host_target() is None
    host_target.cache_clear()
