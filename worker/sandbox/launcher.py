"""Run a command shut in: what it may read, write, call and use up is settled before it begins; nothing outlives it.

The parent has threads and must run no Python between fork and exec, so this file is the first thing a child runs, in
an interpreter that imports nothing else. It stays as the keeper of what it starts: whatever the command leaves behind,
in sessions of its own or not, becomes the keeper's child and is killed before the keeper ends as the command did.

    python -I -S cell.py PARENT_PID CELL COMMAND...

Landlock and libseccomp are called by ctypes; both bind the command and whatever it starts for good, and need no rights.

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
from contextlib import suppress
from typing import Any

_PDEATHSIG, _SUBREAPER, _NO_NEW_PRIVS, _CAPBSET_DROP, _SECUREBITS = 1, 36, 38, 24, 28
_NO_RIGHTS_FOR_ROOT = (
    0x2F  # SECBIT_NOROOT, _NO_SETUID_FIXUP, _KEEP_CAPS_LOCKED, locked: root is a plain user
)
_CAPSET = {"x86_64": 126, "aarch64": 91}

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same numbers on every architecture
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = (1 << bit for bit in range(4))
_REMOVE_DIR, _REMOVE_FILE, _MAKE_DIR, _MAKE_REG = (1 << bit for bit in (4, 5, 7, 8))
_REFER, _TRUNCATE, _IOCTL_DEV = (1 << bit for bit in (13, 14, 15))
_BASIC_RIGHTS = (1 << 13) - 1
_TCP = 3  # bind and connect
_SCOPES = 3  # abstract UNIX sockets, and signals to what is outside

_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_EPERM, _ENOSYS = 1, 38
_DIFFERS, _MASKED_EQUAL = 1, 7
_CLONE_THREAD = 0x00010000
_REFUSED_CALLS = """
    socket socketpair connect bind listen accept accept4 sendmmsg
    fork vfork execveat ptrace process_vm_readv process_vm_writev kcmp pidfd_open pidfd_getfd pidfd_send_signal
    mount umount umount2 pivot_root chroot unshare setns
    move_mount open_tree fsopen fsmount fsconfig fspick mount_setattr
    bpf perf_event_open userfaultfd io_uring_setup io_uring_enter io_uring_register memfd_secret fanotify_init
    add_key request_key keyctl open_by_handle_at name_to_handle_at quotactl acct swapon swapoff reboot syslog
    init_module finit_module delete_module kexec_load kexec_file_load iopl ioperm
    settimeofday clock_settime adjtimex clock_adjtime sethostname setdomainname personality vhangup
    mq_open mq_unlink msgget msgsnd msgrcv msgctl semget semop semtimedop semctl shmget shmat shmctl
    inotify_init inotify_init1 modify_ldt tkill
    chmod fchmod fchmodat chown fchown lchown fchownat utime utimes futimesat utimensat
    setxattr lsetxattr fsetxattr removexattr lremovexattr fremovexattr
    setpriority ioprio_set sched_setscheduler sched_setparam sched_setattr sched_setaffinity migrate_pages move_pages
    process_madvise process_mrelease
    """.split()  # noqa: SIM905 - a hundred quoted words are no easier to read
"""What no arithmetic needs: other machines, other processes, the system itself, and what Landlock does not look at:
the rights, times and attributes of files, and how other processes are scheduled."""
_NEW_CALLS = range(450, 512)
"""Calls since Linux 5.17, whose numbers are the same everywhere: libraries know few of them and do without."""
_OWN_CALLS = ("kill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo")
"""What a process may do to itself alone: its first argument is the process."""


def main(parent: int, cell: dict[str, Any], command: list[str]) -> None:
    """Start the command in the cell, wait for its end, leave nothing of it, and end as it did."""
    libc = ctypes.CDLL(None, use_errno=True)
    signal.signal(signal.SIGTERM, _end)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a dump would be a copy of someone's model
    if sys.platform == "linux":
        libc.prctl(_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        libc.prctl(_SUBREAPER, 1, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("the parent process ended before its child began")
    keeper = os.getpid()
    child = os.fork()
    if child == 0:
        _become(libc, keeper, cell, command)
    status = None
    try:
        while status is None:
            pid, ended = os.waitpid(-1, 0)
            status = ended if pid == child else None
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        _kill_all(keeper)
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(number, signal.SIG_DFL)
        os.kill(keeper, number)
        time.sleep(10)  # it is on its way
    os._exit(os.WEXITSTATUS(status))


def _end(*_: object) -> None:
    sys.exit(128 + signal.SIGTERM)


def _become(libc: ctypes.CDLL, keeper: int, cell: dict[str, Any], command: list[str]) -> None:
    """Close the cell around this process and become the command; only ever returns by ending the process."""
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if sys.platform == "linux":
            libc.prctl(_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != keeper:
                os._exit(1)
        for name, most in cell["limits"].items():
            _limit(getattr(resource, f"RLIMIT_{name}"), most)
        if cell["landlock"] or cell["seccomp"]:
            _checked(libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
            _drop_rights(libc)
        if cell["landlock"]:
            _restrict_files(libc, cell)
        if cell["seccomp"]:
            _restrict_calls()
        os.execv(command[0], command)  # noqa: S606 - no shell is the point
    except BaseException as error:
        os.write(2, f"the cell could not be closed: {error}\n".encode())
    os._exit(1)


def _limit(kind: int, most: int) -> None:
    _, hard = resource.getrlimit(kind)
    bound = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(kind, (bound, bound))


def _drop_rights(libc: ctypes.CDLL) -> None:
    """Take root's capabilities away, now and for what it will execute; a user has none to lose."""
    number = _CAPSET.get(os.uname().machine)
    if os.geteuid() != 0 or number is None:
        return
    libc.prctl(_SECUREBITS, _NO_RIGHTS_FOR_ROOT, 0, 0, 0)
    for capability in range(64):
        libc.prctl(_CAPBSET_DROP, capability, 0, 0, 0)
    header = struct.pack("Ii", 0x20080522, 0)
    _checked(libc.syscall(number, header, struct.pack("6I", 0, 0, 0, 0, 0, 0)), "capset")


def landlock_version() -> int:
    """Return the version of Landlock that this kernel speaks, 0 for none."""
    if sys.platform != "linux":
        return 0
    version: int = ctypes.CDLL(None).syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), 1)
    return max(0, version)


def _restrict_files(libc: ctypes.CDLL, cell: dict[str, Any]) -> None:
    version = landlock_version()
    if not version:
        raise OSError("this kernel has no Landlock")
    rights = _BASIC_RIGHTS
    for since, right in ((2, _REFER), (3, _TRUNCATE), (5, _IOCTL_DEV)):
        rights |= right if version >= since else 0
    handled = [rights, _TCP if version >= 4 else 0, _SCOPES if version >= 6 else 0]
    size = 8 * (3 if version >= 6 else 2 if version >= 4 else 1)
    ruleset = _checked(
        libc.syscall(_CREATE_RULESET, struct.pack("QQQ", *handled), ctypes.c_size_t(size), 0),
        "Landlock",
    )
    read = _READ_FILE | _READ_DIR | _EXECUTE
    # No links, pipes, sockets and devices: what is left behind has to be files and folders.
    write = (
        _READ_FILE
        | _READ_DIR
        | _WRITE_FILE
        | _TRUNCATE
        | _REMOVE_FILE
        | _REMOVE_DIR
        | _MAKE_REG
        | _MAKE_DIR
    )
    grants = (
        (cell["listable"], _READ_DIR),
        (cell["readable"], read),
        (cell["writable"], write),
        (cell["devices"], _READ_FILE | _WRITE_FILE | _IOCTL_DEV),
    )
    for paths, granted in grants:
        for path in paths:
            _allow(libc, ruleset, path, granted & rights)
    _checked(libc.syscall(_RESTRICT_SELF, ruleset, 0), "Landlock")
    os.close(ruleset)


def _allow(libc: ctypes.CDLL, ruleset: int, path: str, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    if not os.path.isdir(path):  # noqa: PTH112 - pathlib would double the time to start
        rights &= _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
    rule = struct.pack("=Qi", rights, descriptor)
    _checked(libc.syscall(_ADD_RULE, ruleset, 1, rule, 0), f"Landlock: {path}")
    os.close(descriptor)


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


def _restrict_calls() -> None:
    library = load_libseccomp()
    if library is None:
        raise OSError("libseccomp is not installed")
    library.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(library.seccomp_init(_ALLOW))
    for name in _REFUSED_CALLS:
        _refuse(library, context, name, _EPERM)
    for number in _NEW_CALLS:
        _refuse_number(library, context, number, _ENOSYS)
    _refuse(
        library, context, "clone3", _ENOSYS
    )  # its flags cannot be seen; the C library then asks clone for threads
    _refuse(library, context, "clone", _EPERM, _Compare(0, _MASKED_EQUAL, _CLONE_THREAD, 0))
    for name in _OWN_CALLS:
        _refuse(library, context, name, _EPERM, _Compare(0, _DIFFERS, os.getpid(), 0))
    _refuse(library, context, "prlimit64", _EPERM, _Compare(0, _DIFFERS, 0, 0))
    _checked(library.seccomp_load(context), "seccomp")
    library.seccomp_release(context)


def _refuse(
    library: ctypes.CDLL, context: ctypes.c_void_p, name: str, error: int, *compared: _Compare
) -> None:
    number = library.seccomp_syscall_resolve_name(name.encode())
    if number >= 0:  # else it is not on this architecture
        _refuse_number(library, context, number, error, *compared)


def _refuse_number(
    library: ctypes.CDLL, context: ctypes.c_void_p, number: int, error: int, *compared: _Compare
) -> None:
    conditions = (_Compare * len(compared))(*compared)
    added = library.seccomp_rule_add_array(
        context, _ERRNO | error, number, len(compared), conditions
    )
    _checked(added, f"seccomp: system call {number}")


def _checked(result: int, what: str) -> int:
    if result < 0:
        raise OSError(f"{what}: {os.strerror(ctypes.get_errno())}")
    return result


def _kill_all(keeper: int) -> None:
    """Kill all that descends from this process; stopped first, so that none starts another meanwhile."""
    stopped: set[int] = set()
    while new := _descendants(keeper) - stopped:
        for pid in new:
            _signal(pid, signal.SIGSTOP)
        stopped |= new
    for pid in stopped:
        _signal(pid, signal.SIGKILL)
    try:
        while True:
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                for pid in _descendants(keeper):
                    _signal(pid, signal.SIGKILL)
                time.sleep(0.005)
    except ChildProcessError:
        return  # none is left


def _descendants(ancestor: int) -> set[int]:
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc") if sys.platform == "linux" else []:  # noqa: PTH208 - as above
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123 - as above
                    parent = int(file.read().rpartition(b")")[2].split()[1])
            except OSError:
                continue  # it has ended
            children.setdefault(parent, []).append(int(name))
    found: set[int] = set()
    waiting = [ancestor]
    while waiting:
        for child in children.get(waiting.pop(), []):
            if child not in found:
                found.add(child)
                waiting.append(child)
    return found


def _signal(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


if __name__ == "__main__":
    main(int(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3:])
