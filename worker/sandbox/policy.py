"""The confinement of a child process: a description that `worker.sandbox.launcher` enforces."""

import json
import os
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import convpress
import worker
from worker.sandbox import launcher

_CELL = (sys.executable, "-I", "-S", launcher.__file__)
# What the interpreter and the numerical libraries ask of the system: libraries, the processor, randomness.
_SYSTEM = (
    "/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/dev/urandom", "/proc/self", "/proc/cpuinfo", "/proc/meminfo",
    "/sys/devices/system/cpu", "/sys/devices/system/node",
)  # fmt: skip
# What CUDA asks of it beyond that: what there is of devices, and the driver's own state.
_CUDA_SYSTEM = (
    "/proc/driver/nvidia", "/proc/devices", "/proc/sys/vm", "/sys/bus/pci/devices", "/sys/devices",
    "/sys/module/nvidia", "/sys/module/nvidia_uvm",
)  # fmt: skip
_CUDA_DEVICES = "nvidia*"
_MOST_FILES, _MOST_PROCESSES = 256, 512


@dataclass(frozen=True)
class Confinement:
    """A cell: `home` is the working folder, where files may be written as in `writable`; sizes are in bytes.

    Beyond these and `readable`, the child sees the installation alone. `landlock` and `seccomp` say which of the
    kernel's walls stand around it. Where `device` is not `cpu`, the child may talk to the driver of the host's GPUs;
    `memory_bytes` then bounds its own data and not its address space, of which CUDA reserves more than there is.
    """

    home: Path
    writable: tuple[Path, ...] = ()
    readable: tuple[Path, ...] = ()
    memory_bytes: int = 8 * 1024**3
    file_bytes: int = 2 * 1024**3
    landlock: bool = True
    seccomp: bool = True
    device: str = "cpu"

    def command(self, command: list[str], seconds: float) -> list[str]:
        """Return the command line that runs `command` confined, tied to the calling process, on `seconds` of CPU.

        The kernel ends it when the thread that starts it ends, so start it from a thread that outlives it.
        """
        on_processor = self.device == "cpu"
        system = _SYSTEM if on_processor else (*_SYSTEM, *_CUDA_SYSTEM)
        described = {
            "landlock": self.landlock,
            "seccomp": self.seccomp,
            "listable": [str(path) for path in _import_folders()],
            "readable": [*system, *map(str, _installation()), *map(str, self.readable)],
            "writable": [*map(str, (self.home, *self.writable)), "/dev/null"],
            "devices": []
            if on_processor
            else [str(path) for path in sorted(Path("/dev").glob(_CUDA_DEVICES))],
            "limits": {
                "AS" if on_processor else "DATA": self.memory_bytes,
                "FSIZE": self.file_bytes,
                "CPU": int(seconds) + 2,
                "NOFILE": _MOST_FILES,
                "NPROC": _MOST_PROCESSES,
                "MEMLOCK": 0,
                "MSGQUEUE": 0,
            },
        }
        return [*_CELL, str(os.getpid()), json.dumps(described), *command]

    def environment(self) -> dict[str, str]:
        """Return all that the child learns of its parent's environment: no secrets, one thread for its arithmetic."""
        return {
            "PATH": os.defpath,
            "HOME": str(self.home),
            "TMPDIR": str(self.home),
            "LANG": "C.UTF-8",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONUNBUFFERED": "1",
            "OMP_NUM_THREADS": "1",
            "OMP_WAIT_POLICY": "PASSIVE",
            "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # the same sums every time; read where there is CUDA
            "PYTHONHASHSEED": "0",  # torch writes constants in the order of a set: the same artifact every time
        }


@cache
def _installation() -> tuple[Path, ...]:
    """Return the interpreter, its libraries and the engine's own code; not the project's root: data may lie there."""
    libraries = [
        path for path in _import_folders() if path.name in ("site-packages", "dist-packages")
    ]
    prefixes = [
        Path(prefix) / part
        for prefix in (sys.prefix, sys.base_prefix)
        for part in ("bin", "lib", "lib64", "pyvenv.cfg")
    ]
    code = [Path(package.__path__[0]) for package in (convpress, worker)]
    return (*prefixes, *libraries, *code)


@cache
def _import_folders() -> tuple[Path, ...]:
    return tuple(dict.fromkeys(Path(entry) for entry in sys.path if entry and Path(entry).is_dir()))
