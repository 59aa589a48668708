"""The system calls that a sandboxed process may not make, by name, number or argument.

`worker.sandbox.launcher` loads them as a seccomp filter after it has made the calls that it needs
itself. A filter sees the numbers in the arguments of a call, and not what they point to.

Source: seccomp(2), fcntl(2), ioctl_tty(2), prctl(2), libseccomp's seccomp_rule_add(3).
"""

from collections.abc import Iterable

Comparison = tuple[int, int, int | None, int]
"""An argument by its place, a comparison of libseccomp, and its two operands.

None stands for the process id of the sandboxed process.
"""
Rule = tuple[str | int, int, tuple[Comparison, ...]]
"""A call by name or number, the error that it gets, and comparisons that must all hold."""

_EPERM = 1
_ENOSYS = 38
_DIFFERS = 1
_MASKED_EQUAL = 7

_REFUSED = """
    socket socketpair connect bind listen accept accept4 sendmmsg
    fork vfork execveat ptrace process_vm_readv process_vm_writev kcmp pidfd_open pidfd_getfd
    pidfd_send_signal
    mount umount umount2 pivot_root chroot unshare setns
    move_mount open_tree fsopen fsmount fsconfig fspick mount_setattr
    bpf perf_event_open userfaultfd io_uring_setup io_uring_enter io_uring_register memfd_create
    memfd_secret fanotify_init
    add_key request_key keyctl open_by_handle_at name_to_handle_at quotactl acct swapon swapoff
    reboot syslog
    init_module finit_module delete_module kexec_load kexec_file_load iopl ioperm
    settimeofday clock_settime adjtimex clock_adjtime sethostname setdomainname personality vhangup
    mq_open mq_unlink mq_notify mq_timedsend mq_timedreceive mq_getsetattr
    msgget msgsnd msgrcv msgctl semget semop semtimedop semctl shmget shmat shmctl
    inotify_init inotify_init1 modify_ldt tkill
    setsid setpgid io_setup io_submit
    chmod fchmod fchmodat chown fchown lchown fchownat utime utimes futimesat utimensat
    setxattr lsetxattr fsetxattr removexattr lremovexattr fremovexattr
    setpriority ioprio_set sched_setscheduler sched_setparam sched_setattr sched_setaffinity
    migrate_pages move_pages
    process_madvise process_mrelease
    """.split()  # noqa: SIM905 - a hundred quoted words are no easier to read
"""The calls that no arithmetic needs: for other machines, other processes and the system itself.

They include some that Landlock does not check: those for the rights, times and attributes of files
and for the scheduling of other processes. A process that leaves its session or its process group
would not be found by the worker that ends it. The content of a file in memory (memfd_create) counts
for no limit of the process."""
# Calls since Linux 5.17, with the same numbers on every architecture. Libraries know few of them,
# and fall back on older ones.
_NEW = range(450, 512)
# A process may use these on itself only: their first argument is the process.
_OWN = ("kill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo")

_CLONE_THREAD = 0x00010000
# A descriptor's signal goes to any process of the same user that its holder names as its owner.
# Landlock refuses that only since its version 6.
_O_ASYNC = 0x2000
_F_SETFL = 4
_FCNTL_COMMANDS = {
    "F_SETOWN": 8,
    "F_SETSIG": 10,
    "F_SETOWN_EX": 15,
    "F_SETLEASE": 1024,
    "F_NOTIFY": 1026,
    "F_SETDELEG": 1040,
}
_IOCTL_COMMANDS = {
    "FIOASYNC": 0x5452,
    "FIOSETOWN": 0x8901,
    "SIOCSPGRP": 0x8902,
    "TIOCSCTTY": 0x540E,
    "TIOCSPGRP": 0x5410,
    "TIOCSTI": 0x5412,
    "TIOCLINUX": 0x541C,
}
# Without the parent-death signal, a process outlives its keeper.
_PRCTL_OPERATIONS = {
    "PR_SET_PDEATHSIG": 1,
    "PR_SET_CHILD_SUBREAPER": 36,
    "PR_SCHED_CORE": 62,
}
# The kernel reads 32 bits of such an argument, and a filter sees 64.
_INT = 0xFFFFFFFF


def rules() -> list[Rule]:
    """Return the rules of the filter; every call that no rule matches is allowed."""
    return [
        *((name, _EPERM, ()) for name in _REFUSED),
        *((number, _ENOSYS, ()) for number in _NEW),
        # A filter cannot see the flags of clone3. Without it the C library uses clone.
        ("clone3", _ENOSYS, ()),
        ("clone", _EPERM, ((0, _MASKED_EQUAL, _CLONE_THREAD, 0),)),
        *((name, _EPERM, ((0, _DIFFERS, None, 0),)) for name in _OWN),
        ("prlimit64", _EPERM, ((0, _DIFFERS, 0, 0),)),
        (
            "fcntl",
            _EPERM,
            (
                (1, _MASKED_EQUAL, _INT, _F_SETFL),
                (2, _MASKED_EQUAL, _O_ASYNC, _O_ASYNC),
            ),
        ),
        *_refused_values("fcntl", 1, _FCNTL_COMMANDS.values()),
        *_refused_values("ioctl", 1, _IOCTL_COMMANDS.values()),
        *_refused_values("prctl", 0, _PRCTL_OPERATIONS.values()),
    ]


def no_execution() -> list[Rule]:
    """Return the rules of a second filter, for a process that executes no further program."""
    return [("execve", _EPERM, ())]


def _refused_values(name: str, argument: int, values: Iterable[int]) -> list[Rule]:
    """Return the rules that refuse a call with one of these values of an argument."""
    return [
        (name, _EPERM, ((argument, _MASKED_EQUAL, _INT, value),)) for value in values
    ]
