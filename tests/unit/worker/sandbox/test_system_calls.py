"""System calls that reach another process are refused, also by arguments that disguise them."""

import os
import signal
import subprocess
from dataclasses import replace

import pytest
from support.sandboxing import SUCCEEDED, needs_landlock, needs_seccomp

from worker.sandbox import system_calls
from worker.sandbox.messages import Succeeded

BY_DESCRIPTOR = """
import ctypes, fcntl, struct
from contextlib import suppress
libc = ctypes.CDLL(None)
reader, writer = os.pipe()
high = 1 << 32  # the kernel ignores the upper half of these arguments
for number in (signal.SIGKILL, signal.SIGIO):
    for top in (0, high):
        set_signal = libc.syscall(72, reader, ctypes.c_long(top | 10), ctypes.c_long(number))
        set_owner = libc.syscall(72, reader, ctypes.c_long(top | 8), ctypes.c_long({victim}))
        owner = struct.pack("ii", 1, {victim})
        libc.syscall(72, reader, ctypes.c_long(top | 15), owner)
        libc.syscall(72, reader, ctypes.c_long(top | 4), ctypes.c_long(os.O_ASYNC))
        pid = struct.pack("i", {victim})
        one = struct.pack("i", 1)
        libc.syscall(16, reader, ctypes.c_long(top | 0x8901), pid)
        libc.syscall(16, reader, ctypes.c_long(top | 0x8902), pid)
        libc.syscall(16, reader, ctypes.c_long(top | 0x5452), one)
        os.write(writer, b"x")
"""
"""Every way to have the kernel signal the owner of a descriptor, by the numbers of x86_64."""


@pytest.mark.skipif(
    os.uname().machine != "x86_64", reason="has the numbers of system calls"
)
@needs_landlock
@needs_seccomp
@pytest.mark.parametrize("version", [3, 4, 5, 6])
def test_no_version_of_landlock_is_needed_to_keep_signals_in(run, shut_in, version):
    with subprocess.Popen(["/bin/sleep", "600"]) as victim:
        try:
            code = BY_DESCRIPTOR.format(victim=victim.pid)
            outcome = run(replace(shut_in, landlock=version), f"{code}\n{SUCCEEDED}")
            assert outcome == Succeeded()
            assert victim.poll() is None
            if version < 6:  # the attempt is a real one
                run(
                    replace(shut_in, landlock=version, seccomp=False),
                    f"{code}\n{SUCCEEDED}",
                )
                assert victim.wait(60) in (-signal.SIGKILL, -signal.SIGIO)
        finally:
            victim.kill()


@needs_landlock
@needs_seccomp
def test_a_child_keeps_the_signal_that_ends_it_with_its_keeper(run, shut_in):
    outcome = run(
        shut_in,
        f"""
        import ctypes
        prctl = ctypes.CDLL(None).prctl
        for operation in (1, 1 | 1 << 32):
            assert prctl(ctypes.c_long(operation), 0, 0, 0, 0) == -1
        number = ctypes.c_int()
        assert prctl(2, ctypes.byref(number), 0, 0, 0) == 0
        assert number.value == signal.SIGKILL
        {SUCCEEDED}
        """,
    )
    assert outcome == Succeeded(), outcome


def test_calls_for_other_processes_are_refused_by_name_and_new_ones_by_number():
    refused = {call for call, _, comparisons in system_calls.rules() if not comparisons}
    assert {"socket", "fork", "ptrace", "setsid", "clone3", 450, 511} <= refused
    assert not refused & {"read", "mmap", "fcntl", "clone", "kill", 449, 512}


def test_a_process_may_use_calls_for_processes_on_itself_alone():
    own = {call: comparisons for call, _, comparisons in system_calls.rules()}
    [(argument, _, process, _)] = own["kill"]
    assert (argument, process) == (0, None)


def test_a_value_is_compared_in_the_bits_that_the_kernel_reads():
    values = {
        value
        for call, _, comparisons in system_calls.rules()
        if call == "prctl"
        for _, _, mask, value in comparisons
        if mask == 0xFFFFFFFF
    }
    assert 1 in values  # PR_SET_PDEATHSIG


def test_the_second_filter_refuses_to_execute():
    assert system_calls.no_execution() == [("execve", 1, ())]
