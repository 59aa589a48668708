"""Which walls stand on this host: a probe is shut in as every model is, and tries to get out."""

import json
import os
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import structlog

from app.settings import Settings
from worker.sandbox import launcher, probe
from worker.sandbox import run as sandbox
from worker.sandbox.messages import Failed, Succeeded
from worker.sandbox.policy import Confinement

_PROBE = (sys.executable, "-I", "-S", probe.__file__)
_SECONDS = 30.0
_MEMORY_BYTES = 512 * 1024**2
_DEVICE_SECONDS, _DEVICE_MEMORY_BYTES = 120.0, 8 * 1024**3

log = structlog.get_logger(__name__)


class WallsMissing(Exception):
    """Models cannot be opened safely on this host; says which walls are missing and which setting accepts that."""


@dataclass(frozen=True)
class Wall:
    """One thing that a model may not do, whether it is kept from it, and what was seen."""

    name: str
    promise: str
    stands: bool
    found: str


class DeviceMissing(Exception):
    """The device that jobs are to compute on is not there; says what torch says of it."""


def examine(device: str = "cpu") -> list[Wall]:
    """Try every wall around a job on a device; takes about a tenth of a second."""
    with (
        tempfile.TemporaryDirectory(prefix="convpress-doctor-") as folder,
        socket.create_server(("127.0.0.1", 0)) as server,
    ):
        home, secret = Path(folder, "home"), Path(folder, "secret")
        home.mkdir()
        secret.write_text("secret")
        upload = Path(folder, "upload")
        upload.write_text("upload")
        confinement = confined(home, readable=(upload,), memory_bytes=_MEMORY_BYTES, device=device)
        asked = {
            "secret": str(secret),
            "upload": str(upload),
            "port": server.getsockname()[1],
            "worker": os.getpid(),
            "nice": os.getpriority(os.PRIO_PROCESS, 0),  # as it is: a missing wall is to do no harm
            "memory": 2 * _MEMORY_BYTES,
            "shared_too": device == "cpu",
        }
        with subprocess.Popen(  # noqa: S603 - ours
            confinement.command([*_PROBE, json.dumps(asked)], _SECONDS),
            cwd=home,
            env=confinement.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        ) as child:
            try:
                output, errors = child.communicate(timeout=_SECONDS)
            except subprocess.TimeoutExpired:
                child.terminate()
                output, errors = child.communicate()
    escapes = _read(output)
    if escapes is None:
        reason = errors.decode(errors="replace").strip()[-300:] or "the probe said nothing"
        return [
            Wall(name, promise, stands=False, found=reason) for name, promise in probe.WALLS.items()
        ]
    return [
        Wall(name, promise, stands=not escapes[name], found="; ".join(escapes[name]) or "held")
        for name, promise in probe.WALLS.items()
    ]


def confined(
    home: Path,
    *,
    readable: tuple[Path, ...],
    memory_bytes: int,
    file_bytes: int = 1024**2,
    writable: tuple[Path, ...] = (),
    device: str = "cpu",
) -> Confinement:
    """Return the strongest cell that this host can build, for a child that works in `home` and may read `readable`."""
    return Confinement(
        home=home,
        writable=writable,
        readable=readable,
        memory_bytes=memory_bytes,
        file_bytes=file_bytes,
        landlock=launcher.landlock_version() > 0,
        seccomp=launcher.load_libseccomp() is not None,
        device=device,
    )


def require_device(device: str) -> None:
    """Have a device compute once, in a cell like a job's; nothing is done for the processor.

    Raises:
        DeviceMissing: it does not.
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
            wanted=lambda: True,
        )
    if isinstance(outcome, Succeeded):
        log.warning("models can talk to the driver of a device, as the settings say", device=device)
        return
    said = outcome.error["detail"] if isinstance(outcome, Failed) else f"{outcome}"
    raise DeviceMissing(f"CONVPRESS_DEVICE={device}, but {said}")


def require(settings: Settings) -> None:
    """Check that models can be opened safely here.

    Raises:
        WallsMissing: they cannot, and no setting says that this is accepted.
    """
    missing = [wall for wall in examine(settings.device) if not wall.stands]
    if not missing:
        return
    told = "; ".join(f"{wall.name}: {wall.promise}, but {wall.found}" for wall in missing)
    if not settings.accept_models_that_can_escape:
        raise WallsMissing(
            f"a model is a program, and here it could break out ({told}). Serve on Linux 6.2 or later with Landlock "
            "and libseccomp, or accept it for models of people you trust: CONVPRESS_ACCEPT_MODELS_THAT_CAN_ESCAPE=true"
        )
    log.warning("models can escape, as the settings accept", missing=told)


def _read(output: bytes) -> dict[str, list[str]] | None:
    try:
        said = json.loads(output)
    except ValueError:
        return None
    return said if isinstance(said, dict) and said.keys() == probe.WALLS.keys() else None
