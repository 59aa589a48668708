"""What is given back of memory, and that what is held stays."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from worker.engine.numerics import memory

MIB = 1 << 20


def resident():
    """Bytes of this process that are in memory, of files and of others."""
    fields = dict(
        line.split(":") for line in Path("/proc/self/status").read_text().splitlines()
    )
    return tuple(1024 * int(fields[name].split()[0]) for name in ("RssFile", "RssAnon"))


def test_pages_of_mapped_files_are_given_back_and_read_again(tmp_path):
    stored = np.random.default_rng(0).standard_normal(8 * MIB // 8)
    path = tmp_path / "numbers"
    path.write_bytes(b"before" + stored.tobytes())
    actual = memory.mapped(path, np.dtype(np.float64), 6, stored.shape)
    np.testing.assert_array_equal(actual, stored)
    read, _ = resident()
    memory.give_back_files()
    assert read - resident()[0] > 7 * MIB
    np.testing.assert_array_equal(actual, stored)


def test_writing_to_a_mapped_array_leaves_the_file_alone(tmp_path):
    path = tmp_path / "numbers"
    path.write_bytes(bytes(100))
    memory.mapped(path, np.dtype(np.uint8), 0, (100,))[:] = 1
    assert path.read_bytes() == bytes(100)


def mappings_of(path):
    """The lines of the process's mappings that are of a file."""
    return [
        line
        for line in Path("/proc/self/maps").read_text().splitlines()
        if line.endswith(str(path))
    ]


def test_a_file_is_mapped_once_and_as_long_as_anything_lies_over_it(tmp_path):
    path = tmp_path / "numbers"
    path.write_bytes(bytes(range(200)))
    first = memory.mapped(path, np.dtype(np.uint8), 0, (10, 5))
    second = memory.mapped(path, np.dtype(np.uint8), 7, (10, 5))
    assert first[0, 0] == 0
    assert second[0, 0] == 7
    assert len(mappings_of(path)) == 1
    del first
    memory.give_back()
    assert second[9, 4] == 56
    del second
    assert not mappings_of(path)
    memory.give_back()


def test_a_file_that_has_taken_the_place_of_another_is_mapped_anew(tmp_path):
    path = tmp_path / "numbers"
    other = tmp_path / "other"
    path.write_bytes(b"a" * 100)
    other.write_bytes(b"b" * 100)
    first = memory.mapped(path, np.dtype("S1"), 0, (1,))
    other.replace(path)
    second = memory.mapped(path, np.dtype("S1"), 0, (1,))
    memory.give_back()
    assert first[0] == b"a"
    assert second[0] == b"b"


def test_free_memory_between_what_is_held_is_given_back():
    """Blocks of 64 KiB come from the heap whatever its settings: every second one is freed."""
    held = [np.ones(64 * 1024, np.uint8) for _ in range(1024)]
    del held[::2]
    _, before = resident()
    memory.give_back()
    _, after = resident()
    assert before - after > 16 * MIB
    assert all((block == 1).all() for block in held)


def test_what_was_held_at_the_last_search_is_given_back_once_it_is_free():
    """The process has not grown since: as after a stage whose results are no longer needed."""
    held = [np.ones(64 * 1024, np.uint8) for _ in range(1024)]
    memory.give_back()
    del held[::2]
    _, before = resident()
    memory.give_back()
    assert before - resident()[1] > 16 * MIB


def test_a_loop_searches_the_heap_again_once_the_process_has_grown(monkeypatch):
    """What is in memory rises and falls; 8 MiB more than the least since the last search count."""
    searches = []
    library = SimpleNamespace(malloc_trim=searches.append)
    monkeypatch.setattr("ctypes.CDLL", lambda _: library)
    monkeypatch.setattr(memory, "_baseline", 0)
    expected = {100: 1, 107: 1, 90: 1, 97: 1, 98: 2, 105: 2, 106: 3}
    for mebibytes, number in expected.items():
        monkeypatch.setattr(memory, "_resident", lambda size=mebibytes: size * MIB)
        memory.give_back_growth()
        assert len(searches) == number


def test_there_is_nothing_to_do_where_the_library_has_no_such_function(monkeypatch):
    monkeypatch.setattr("ctypes.CDLL", lambda _: object())
    memory.give_back()
    memory.give_back_growth()


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_other_systems_are_left_alone(monkeypatch, platform):
    monkeypatch.setattr("sys.platform", platform)
    monkeypatch.setattr("ctypes.CDLL", lambda _: pytest.fail("no C library is called"))
    memory.give_back()
    memory.give_back_growth()
