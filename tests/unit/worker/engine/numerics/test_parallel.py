"""Parts of a job on several threads."""

import threading

import pytest

from worker.engine.numerics import device, parallel

_SECONDS = 30


@pytest.fixture(autouse=True)
def _restore(monkeypatch):
    monkeypatch.setattr(parallel, "_threads", 1)
    monkeypatch.setattr(device, "_chosen", device.PROCESSOR)


def test_parts_run_at_the_same_time_and_come_in_their_order():
    both_run = threading.Barrier(2)

    def work(part):
        both_run.wait(_SECONDS)
        return 10 * part

    parallel.choose(2)
    assert list(parallel.in_order(work, [1, 2, 3, 4])) == [10, 20, 30, 40]


@pytest.mark.parametrize(("threads", "name"), [(1, "cpu"), (2, "cuda")])
def test_one_thread_and_another_device_compute_on_the_callers_thread(
    monkeypatch, threads, name
):
    parallel.choose(threads)
    monkeypatch.setattr(device, "_chosen", name)
    idents = set(parallel.in_order(lambda _: threading.get_ident(), range(3)))
    assert idents == {threading.get_ident()}


def test_no_more_threads_than_memory_is_meant_for():
    parallel.choose(1000)
    names = set(parallel.in_order(lambda _: threading.get_ident(), range(100)))
    assert len(names) <= 4


def test_a_fault_of_a_part_is_that_of_the_whole():
    def work(part):
        if part == 1:
            raise ValueError("part 1")
        return part

    parallel.choose(2)
    with pytest.raises(ValueError, match="part 1"):
        list(parallel.in_order(work, range(4)))
