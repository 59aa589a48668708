"""The launcher: it runs a command with limited files, system calls, memory and time.

The worker has threads and must run no Python between fork and exec, so that this file is the first
thing that a child runs, in an interpreter that imports nothing else. It stays as the keeper of the
command: processes that the command leaves behind become children of the keeper, in whatever session
they are, and are killed before the keeper ends in the same way as the command.

    python -I -S launcher.py PARENT_PID SANDBOX COMMAND...

SANDBOX is the JSON that `worker.sandbox.policy` writes. Landlock and libseccomp are called by
ctypes; both bind the command and its children for good, and need no privileges.

Source: Linux's userspace-api/landlock.rst and prctl(2), libseccomp's seccomp_rule_add(3).
"""

import ctypes
import json
import os
import resource
import signal
import struct
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple, NoReturn

# The operations of prctl(2).
_PDEATHSIG = 1
_CAPBSET_DROP = 24
_SECUREBITS = 28
_SUBREAPER = 36
_NO_NEW_PRIVS = 38
# SECBIT_NOROOT, _NO_SETUID_FIXUP and _KEEP_CAPS_LOCKED, locked: root is a plain user from then on.
_NO_RIGHTS_FOR_ROOT = 0x2F
_CAPSET = {"x86_64": 126, "aarch64": 91}

# The system calls of Landlock, which have the same numbers on every architecture.
_CREATE_RULESET = 444
_ADD_RULE = 445
_RESTRICT_SELF = 446
# The rights of Landlock.
_EXECUTE = 1 << 0
_WRITE_FILE = 1 << 1
_READ_FILE = 1 << 2
_READ_DIR = 1 << 3
_REMOVE_DIR = 1 << 4
_REMOVE_FILE = 1 << 5
_MAKE_DIR = 1 << 7
_MAKE_REG = 1 << 8
_REFER = 1 << 13
_TRUNCATE = 1 << 14
_IOCTL_DEV = 1 << 15
_BASIC_RIGHTS = (1 << 13) - 1
_RIGHT_SINCE_VERSION = ((2, _REFER), (3, _TRUNCATE), (5, _IOCTL_DEV))
_TCP = 3  # bind and connect
_SCOPES = 3  # abstract UNIX sockets, and signals to processes outside the sandbox
_READ = _READ_FILE | _READ_DIR | _EXECUTE
# No links, pipes, sockets and devices: the worker reads what a child writes, and expects files.
_MAKE = _MAKE_REG | _MAKE_DIR
_REMOVE = _REMOVE_FILE | _REMOVE_DIR
_WRITE = _READ_FILE | _READ_DIR | _WRITE_FILE | _TRUNCATE | _MAKE | _REMOVE
_USE_DEVICE = _READ_FILE | _WRITE_FILE | _IOCTL_DEV
# The kernel accepts only these for a path that is not a folder.
_FILE_RIGHTS = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV

# The actions of libseccomp.
_ALLOW = 0x7FFF0000
_ERRNO = 0x00050000
# The worker waits for the keeper, so that this is short.
_TICK_SECONDS = 0.005
# A process starts some thousand threads in this time, and a kernel has room for 32,768 or more.
_COUNT_SECONDS = 0.05


def main(parent: int, sandbox: dict[str, Any], command: list[str]) -> None:
    """Run the command in the sandbox, kill the processes that it leaves, and end as it did."""
    libc = ctypes.CDLL(None, use_errno=True)
    signal.signal(signal.SIGTERM, _end)
    resource.setrlimit(
        resource.RLIMIT_CORE, (0, 0)
    )  # a dump would be a copy of someone's model
    if sys.platform == "linux":
        libc.prctl(_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        libc.prctl(_SUBREAPER, 1, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("the parent process ended before its child began")
    keeper = os.getpid()
    child = os.fork()
    if child == 0:
        _exec_in_sandbox(libc, keeper, sandbox, command)
    try:
        status = _wait_for(child, sandbox["limits"]["NPROC"])
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        kill_all(lambda: _descendants(keeper))
        _reap_all(keeper)
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(number, signal.SIG_DFL)
        os.kill(keeper, number)
        time.sleep(10)  # until the signal arrives
    os._exit(os.WEXITSTATUS(status))


def _wait_for(child: int, most_threads: int) -> int:
    """Wait for the command, reaping other children meanwhile, and return its exit status.

    Kill it if it has too many threads: the kernel does not limit those of root.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
    while True:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == child:
            return status
        if pid != 0:
            continue
        if _count_threads(child) > most_threads:
            os.write(2, f"it had more than {most_threads} threads\n".encode())
            os.kill(child, signal.SIGKILL)
        _wait_for_signal()


def _wait_for_signal() -> None:
    """Wait until a child has ended, or until its threads are counted again."""
    if sys.platform == "linux":
        signal.sigtimedwait([signal.SIGCHLD], _COUNT_SECONDS)
    else:
        time.sleep(_COUNT_SECONDS)


def _count_threads(pid: int) -> int:
    """Return the number of threads of a process; 0 where the system does not show it."""
    try:
        with open(f"/proc/{pid}/status", "rb") as file:  # noqa: PTH123 - pathlib takes time to start
            _, _, rest = file.read().partition(b"\nThreads:")
    except OSError:
        return 0
    return int(rest.split(None, 1)[0]) if rest else 0


def _end(*_: object) -> None:
    sys.exit(128 + signal.SIGTERM)


def _exec_in_sandbox(
    libc: ctypes.CDLL, keeper: int, sandbox: dict[str, Any], command: list[str]
) -> NoReturn:
    """Confine this process and replace it by the command; an error ends the process."""
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if sys.platform == "linux":
            libc.prctl(_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            # The keeper died before the signal was set.
            if os.getppid() != keeper:
                os._exit(1)
        for name, most in sandbox["limits"].items():
            _limit(getattr(resource, f"RLIMIT_{name}"), most)
        if sandbox["landlock"] or sandbox["calls"]:
            _checked(libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
            _drop_rights(libc)
        if sandbox["landlock"]:
            _restrict_files(libc, sandbox)
        # Last, because it refuses calls that the other steps need.
        if sandbox["calls"]:
            restrict_calls(sandbox["calls"])
        os.execv(command[0], command)  # noqa: S606 - no shell is the point
    except BaseException as error:
        os.write(2, f"the sandbox could not be set up: {error}\n".encode())
    os._exit(1)


def _limit(kind: int, most: int) -> None:
    _, hard = resource.getrlimit(kind)
    # RLIM_INFINITY is -1 in Python.
    if hard != resource.RLIM_INFINITY:
        most = min(most, hard)
    resource.setrlimit(kind, (most, most))


def _drop_rights(libc: ctypes.CDLL) -> None:
    """Drop the capabilities of root, for this process and the programs that it executes.

    Other users have none.
    """
    number = _CAPSET.get(os.uname().machine)
    if os.geteuid() != 0 or number is None:
        return
    libc.prctl(_SECUREBITS, _NO_RIGHTS_FOR_ROOT, 0, 0, 0)
    for capability in range(64):
        libc.prctl(_CAPBSET_DROP, capability, 0, 0, 0)
    header = struct.pack("Ii", 0x20080522, 0)
    _checked(
        libc.syscall(number, header, struct.pack("6I", 0, 0, 0, 0, 0, 0)), "capset"
    )


def landlock_version() -> int:
    """Return the version of Landlock in this kernel; 0 for a kernel without it."""
    if sys.platform != "linux":
        return 0
    version: int = ctypes.CDLL(None).syscall(
        _CREATE_RULESET, None, ctypes.c_size_t(0), 1
    )
    return max(0, version)


def _restrict_files(libc: ctypes.CDLL, sandbox: dict[str, Any]) -> None:
    """Restrict files, TCP and scopes, as far as the kernel's version of Landlock can."""
    version = min(landlock_version(), sandbox["landlock"])
    if not version:
        raise OSError("this kernel has no Landlock")
    rights = _BASIC_RIGHTS
    for since, right in _RIGHT_SINCE_VERSION:
        if version >= since:
            rights |= right
    # The kernel takes a struct of 64-bit members: a later version has more of them.
    handled = [rights]
    if version >= 4:
        handled.append(_TCP)
    if version >= 6:
        handled.append(_SCOPES)
    attributes = struct.pack(f"{len(handled)}Q", *handled)
    size = ctypes.c_size_t(len(attributes))
    ruleset = _checked(libc.syscall(_CREATE_RULESET, attributes, size, 0), "Landlock")
    grants = (
        (sandbox["listable"], _READ_DIR),
        (sandbox["readable"], _READ),
        (sandbox["writable"], _WRITE),
        (sandbox["devices"], _USE_DEVICE),
    )
    for paths, granted in grants:
        for path in paths:
            if not _allow(libc, ruleset, path, granted & rights) and granted == _WRITE:
                # Its own folder was moved away just now: it could write to no other.
                raise FileNotFoundError(path)
    _checked(libc.syscall(_RESTRICT_SELF, ruleset, 0), "Landlock")
    os.close(ruleset)


def _allow(libc: ctypes.CDLL, ruleset: int, path: str, rights: int) -> bool:
    """Allow the rights below a path, and tell whether it exists."""
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    if not os.path.isdir(path):  # noqa: PTH112 - pathlib would double the time to start
        rights &= _FILE_RIGHTS
    rule = struct.pack("=Qi", rights, descriptor)
    _checked(libc.syscall(_ADD_RULE, ruleset, 1, rule, 0), f"Landlock: {path}")
    os.close(descriptor)
    return True


class _Compare(ctypes.Structure):
    _fields_ = (
        ("arg", ctypes.c_uint),
        ("op", ctypes.c_int),
        ("a", ctypes.c_uint64),
        ("b", ctypes.c_uint64),
    )


def load_libseccomp() -> ctypes.CDLL | None:
    """Return libseccomp, or None where it is not installed."""
    try:
        return ctypes.CDLL("libseccomp.so.2") if sys.platform == "linux" else None
    except OSError:
        return None


def restrict_calls(rules: list[Any]) -> None:
    """Load a seccomp filter with the rules of `worker.sandbox.system_calls`."""
    library = load_libseccomp()
    if library is None:
        raise OSError("libseccomp is not installed")
    library.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(library.seccomp_init(_ALLOW))
    for name, error, comparisons in rules:
        number = name
        if isinstance(name, str):
            number = library.seccomp_syscall_resolve_name(name.encode())
        if number < 0:
            continue  # some calls do not exist on every architecture
        compared = [_comparison(*comparison) for comparison in comparisons]
        conditions = (_Compare * len(compared))(*compared)
        added = library.seccomp_rule_add_array(
            context, _ERRNO | error, number, len(compared), conditions
        )
        _checked(added, f"seccomp: system call {name}")
    _checked(library.seccomp_load(context), "seccomp")
    library.seccomp_release(context)


def _comparison(
    argument: int, operator: int, first: int | None, second: int
) -> _Compare:
    if first is None:
        first = os.getpid()
    return _Compare(argument, operator, first, second)


def _checked(result: int, call: str) -> int:
    if result < 0:
        raise OSError(f"{call}: {os.strerror(ctypes.get_errno())}")
    return result


class Process(NamedTuple):
    """A process: its id, and the ids of its parent and its session."""

    pid: int
    parent: int
    session: int


def kill_all(find: Callable[[], set[int]]) -> None:
    """Kill the processes that `find` returns.

    Stop them first, so that none starts another meanwhile.
    """
    stopped: set[int] = set()
    while new := find() - stopped:
        for pid in new:
            _signal(pid, signal.SIGSTOP)
        stopped |= new
    for pid in stopped:
        _signal(pid, signal.SIGKILL)


def _reap_all(keeper: int) -> None:
    """Wait until no child of the keeper is left, and kill those that appear meanwhile."""
    try:
        while True:
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                for pid in _descendants(keeper):
                    _signal(pid, signal.SIGKILL)
                time.sleep(_TICK_SECONDS)
    except ChildProcessError:
        return  # no child is left


def _descendants(ancestor: int) -> set[int]:
    children: dict[int, list[int]] = {}
    for process in processes():
        children.setdefault(process.parent, []).append(process.pid)
    descendants: set[int] = set()
    waiting = [ancestor]
    while waiting:
        for child in children.get(waiting.pop(), []):
            if child not in descendants:
                descendants.add(child)
                waiting.append(child)
    return descendants


def processes() -> list[Process]:
    """Return the processes of this machine; none where the system has no /proc."""
    seen: list[Process] = []
    if sys.platform != "linux":
        return seen
    for name in os.listdir("/proc"):  # noqa: PTH208 - as above
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123 - as above
                fields = file.read().rpartition(b")")[2].split()
        except OSError:
            continue  # the process has ended
        seen.append(Process(int(name), int(fields[1]), int(fields[3])))
    return seen


def _signal(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


if __name__ == "__main__":
    main(int(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3:])
