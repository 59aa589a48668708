"""The doctor: a probe tries to escape from a sandbox, and shows which promises hold here."""

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from app.settings import Settings
from worker.sandbox import launcher, probe
from worker.sandbox import run as sandbox
from worker.sandbox.messages import Failed, Succeeded
from worker.sandbox.policy import Confinement

_PROBE = (sys.executable, "-I", "-S", probe.__file__)
_SECONDS = 30.0
_MEMORY_BYTES = 512 * 1024**2
_DEVICE_SECONDS = 120.0
_DEVICE_MEMORY_BYTES = 8 * 1024**3

# What each version of Landlock restricts first, and the Linux that brought it.
_LANDLOCK = (
    (1, "5.13", "files"),
    (2, "5.19", "links between folders"),
    (3, "6.2", "shortening files"),
    (4, "6.7", "TCP"),
    (5, "6.10", "devices"),
    (6, "6.12", "signals and abstract UNIX sockets"),
)
_AS_ROOT = (
    "this process runs as root: the kernel does not limit the threads of root's jobs, so that the "
    "keeper of each job counts them and kills the job, and a bug in the sandbox gives away more; "
    "use a user of its own"
)

log = structlog.get_logger(__name__)


class SandboxIncomplete(Exception):
    """The sandbox has a gap on this host.

    The message names the gaps and the setting that accepts them.
    """


@dataclass(frozen=True)
class Check:
    """One promise of the sandbox, whether it holds on this host, and the evidence."""

    name: str
    promise: str
    holds: bool
    evidence: str


class DeviceMissing(Exception):
    """The device that jobs compute on cannot be used; the message has torch's reason."""


def examine(device: str = "cpu") -> list[Check]:
    """Test every promise of the sandbox of a job on a device; takes about a tenth of a second."""
    with (
        tempfile.TemporaryDirectory(prefix="convpress-doctor-") as folder,
        socket.create_server(("127.0.0.1", 0)) as server,
    ):
        home = Path(folder, "home")
        secret = Path(folder, "secret")
        upload = Path(folder, "upload")
        home.mkdir()
        secret.write_text("secret")
        upload.write_text("upload")
        confinement = confined(
            home, readable=(upload,), memory_bytes=_MEMORY_BYTES, device=device
        )
        targets = {
            "secret": str(secret),
            "upload": str(upload),
            "port": server.getsockname()[1],
            "worker": os.getpid(),
            # The priority that the worker has: a gap then does no harm.
            "nice": os.getpriority(os.PRIO_PROCESS, 0),
            "memory": 2 * _MEMORY_BYTES,
            # With CUDA, the limit of memory does not count shared memory.
            "shared_too": device == "cpu",
            # CUDA reads its own folder under /proc, and there is no rule for parts of it.
            "proc_too": device == "cpu",
        }
        output, errors = _probe(confinement, targets)
    escapes = _parse(output)
    if escapes is None:
        reason = (
            errors.decode(errors="replace").strip()[-300:] or "the probe wrote nothing"
        )
        escapes = {name: [reason] for name in probe.PROMISES}
    return [
        Check(
            name,
            promise,
            holds=not escapes[name],
            evidence="; ".join(escapes[name]) or "held",
        )
        for name, promise in probe.PROMISES.items()
    ]


def notes() -> list[str]:
    """Return sentences on the walls of the sandbox under this kernel and this user."""
    version = launcher.landlock_version()
    lines = [f"Linux {os.uname().release} has Landlock {version}"]
    if version:
        restricted = [what for since, _, what in _LANDLOCK if since <= version]
        lines[0] += f", which restricts {', '.join(restricted)}"
    for since, linux, what in _LANDLOCK:
        if since > version:
            lines.append(
                f"Landlock restricts {what} only since its version {since}, Linux {linux}"
            )
    if os.geteuid() == 0:
        lines.append(_AS_ROOT)
    return lines


def _probe(confinement: Confinement, targets: Mapping[str, Any]) -> tuple[bytes, bytes]:
    """Run the probe in a sandbox, and return its standard output and standard error."""
    with subprocess.Popen(  # noqa: S603 - ours
        confinement.command([*_PROBE, json.dumps(targets)], _SECONDS),
        cwd=confinement.home,
        env=confinement.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as child:
        try:
            return child.communicate(timeout=_SECONDS)
        except subprocess.TimeoutExpired:
            child.terminate()
            return child.communicate()


def confined(
    home: Path,
    *,
    readable: tuple[Path, ...],
    memory_bytes: int,
    file_bytes: int = 1024**2,
    writable: tuple[Path, ...] = (),
    device: str = "cpu",
    threads: int = 1,
) -> Confinement:
    """Return the strongest confinement that this host can enforce; `home` is the working folder."""
    return Confinement(
        home=home,
        writable=writable,
        readable=readable,
        memory_bytes=memory_bytes,
        file_bytes=file_bytes,
        landlock=launcher.landlock_version(),
        seccomp=launcher.load_libseccomp() is not None,
        device=device,
        threads=threads,
    )


def require_device(device: str) -> None:
    """Compute once on a device, in a sandbox like a job's; the processor needs no test.

    Raises:
        DeviceMissing: the device cannot be used.
    """
    if device == "cpu":
        return
    with tempfile.TemporaryDirectory(prefix="convpress-doctor-") as folder:
        confinement = confined(
            Path(folder), readable=(), memory_bytes=_DEVICE_MEMORY_BYTES, device=device
        )
        outcome = sandbox.run(
            sandbox.ENGINE,
            ["device", device],
            confinement,
            seconds=_DEVICE_SECONDS,
            on_progress=lambda _: None,
            is_wanted=lambda: True,
        )
    if isinstance(outcome, Succeeded):
        log.warning(
            "as configured, models can use the driver of a device", device=device
        )
        return
    reason = str(outcome)
    if isinstance(outcome, Failed):
        reason = outcome.error["detail"]
    raise DeviceMissing(f"CONVPRESS_DEVICE={device}, but {reason}")


def require(settings: Settings) -> None:
    """Check that models can be opened safely on this host.

    Raises:
        SandboxIncomplete: they cannot, and the settings do not accept that.
    """
    if os.geteuid() == 0:
        log.warning(_AS_ROOT)
    missing = [check for check in examine(settings.device) if not check.holds]
    if not missing:
        return
    gaps = "; ".join(
        f"{check.name}: {check.promise}, but {check.evidence}" for check in missing
    )
    if not settings.accept_models_that_can_escape:
        raise SandboxIncomplete(
            f"a model is a program, and on this host it could escape from its sandbox ({gaps}). "
            "Use Linux 6.2 or later with Landlock and libseccomp, or, if you trust all people who "
            "upload models, set CONVPRESS_ACCEPT_MODELS_THAT_CAN_ESCAPE=true"
        )
    log.warning(
        "models can escape from the sandbox, as the settings accept", missing=gaps
    )


def _parse(output: bytes) -> dict[str, list[str]] | None:
    """Return the escapes by promise; None for output that is not the probe's."""
    try:
        escapes = json.loads(output)
    except ValueError:
        return None
    if not isinstance(escapes, dict) or escapes.keys() != probe.PROMISES.keys():
        return None
    return escapes
