"""The policy of a sandbox: the limits of a child, which `worker.sandbox.launcher` enforces."""

import json
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import convpress
import worker
from worker.sandbox import launcher, system_calls

_LAUNCHER = (sys.executable, "-I", "-S", launcher.__file__)
# The interpreter and the numerical libraries need these: libraries, the processor, randomness.
_SYSTEM = (
    "/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/dev/urandom", "/proc/cpuinfo", "/proc/meminfo",
    "/sys/devices/system/cpu", "/sys/devices/system/node",
    # Not all of /proc/self: it shows the host's mounts and the connections of its network.
    "/proc/self/maps", "/proc/self/smaps", "/proc/self/status", "/proc/self/stat",
    "/proc/self/statm", "/proc/self/auxv", "/proc/self/cmdline", "/proc/self/fd",
)  # fmt: skip
# CUDA also needs the list of devices and the state of the driver.
_CUDA_SYSTEM = (
    "/proc/self", "/proc/driver/nvidia", "/proc/devices", "/proc/sys/vm", "/sys/bus/pci/devices",
    "/sys/devices", "/sys/module/nvidia", "/sys/module/nvidia_uvm",
)  # fmt: skip
_CUDA_DEVICES = "nvidia*"
_MOST_FILES = 256
# Threads count as processes here.
_MOST_PROCESSES = 512
# The wall-clock limit begins with the job: the imports of a spare child come before it.
_MORE_CPU_SECONDS = 60


NEWEST_LANDLOCK = 6
"""The last version of Landlock that added a right or scope which the sandbox uses."""


@dataclass(frozen=True)
class Confinement:
    """The limits of a child process; sizes are in bytes.

    The child works in `home`. It can write there and in `writable`, and read these, `readable` and
    the installation. It computes on at most `threads`. `landlock` and `seccomp` say which
    mechanisms of the kernel enforce the limits: a version of Landlock, or 0 for none; of a later
    version than the kernel's, that is used. Where `device` is not `cpu`, the child can use the
    driver of the host's GPUs; `memory_bytes` then bounds its data instead of its address space, of
    which CUDA reserves more than the host has.
    """

    home: Path
    writable: tuple[Path, ...] = ()
    readable: tuple[Path, ...] = ()
    memory_bytes: int = 8 * 1024**3
    file_bytes: int = 2 * 1024**3
    landlock: int = NEWEST_LANDLOCK
    seccomp: bool = True
    device: str = "cpu"
    threads: int = 1

    def command(self, command: list[str], seconds: float) -> list[str]:
        """Return the command line that runs `command` in the sandbox, for `seconds` of each thread.

        The kernel ends it when the thread that started it ends, so start it from a thread that
        outlives it.
        """
        system: tuple[str, ...] = _SYSTEM
        devices: list[Path] = []
        if self.device != "cpu":
            system += _CUDA_SYSTEM
            devices = sorted(Path("/dev").glob(_CUDA_DEVICES))
        description = {
            "landlock": self.landlock,
            "calls": system_calls.rules() if self.seccomp else [],
            "listable": _texts(_import_folders()),
            "readable": [*system, *_texts(_installation()), *_texts(self.readable)],
            "writable": [*_texts((self.home, *self.writable)), "/dev/null"],
            "devices": _texts(devices),
            "limits": self._limits(seconds),
        }
        return [*_LAUNCHER, str(os.getpid()), json.dumps(description), *command]

    def _limits(self, seconds: float) -> dict[str, int]:
        """Return the resource limits of setrlimit(2), by name."""
        memory = "AS" if self.device == "cpu" else "DATA"
        return {
            memory: self.memory_bytes,
            "FSIZE": self.file_bytes,
            # All threads count. The wall-clock limit ends a busy child first.
            "CPU": int(seconds * self.threads) + _MORE_CPU_SECONDS,
            "NOFILE": _MOST_FILES,
            "NPROC": _MOST_PROCESSES,
            "MEMLOCK": 0,
            "MSGQUEUE": 0,
        }

    def environment(self) -> dict[str, str]:
        """Return the whole environment of the child.

        It has nothing of the worker's environment, which has secrets.
        """
        return {
            "PATH": os.defpath,
            "HOME": str(self.home),
            "TMPDIR": str(self.home),
            "LANG": "C.UTF-8",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONUNBUFFERED": "1",
            "OMP_NUM_THREADS": "1",
            "OMP_WAIT_POLICY": "PASSIVE",
            # With CUDA, cuBLAS then adds in the same order every time.
            "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
            # torch writes constants in the order of a set: the artifact is then always the same.
            "PYTHONHASHSEED": "0",
            # It could reach nobody, and would warn of that in the log of every job.
            "ORT_DISABLE_TELEMETRY": "1",
        }


def _texts(paths: Iterable[Path]) -> list[str]:
    return [str(path) for path in paths]


@cache
def _installation() -> tuple[Path, ...]:
    """Return the interpreter, its libraries and the engine's code.

    The project's root is left out, because it may have data.
    """
    parts = ("bin", "lib", "lib64", "pyvenv.cfg")
    interpreter = [
        *(Path(sys.prefix, part) for part in parts),
        *(Path(sys.base_prefix, part) for part in parts),
    ]
    folders = ("site-packages", "dist-packages")
    libraries = [path for path in _import_folders() if path.name in folders]
    code = [Path(package.__path__[0]) for package in (convpress, worker)]
    return (*interpreter, *libraries, *code)


@cache
def _import_folders() -> tuple[Path, ...]:
    folders = [Path(entry) for entry in sys.path if entry]
    return tuple(dict.fromkeys(folder for folder in folders if folder.is_dir()))
