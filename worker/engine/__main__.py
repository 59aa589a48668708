"""The child process: one request on the command line, JSON lines on standard output, one job."""

import errno
import json
import os
import select
import sys
import traceback
import warnings
from importlib import import_module
from pathlib import Path
from typing import TextIO

from convpress.formats import named
from convpress.gate.check import require_safe
from convpress.phases import Phase
from convpress.refusal import Code, Refusal
from worker.engine.request import Request

_LONGEST_DETAIL = 1000
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
WAIT = "wait"
"""The command of a spare child."""
# torch.export is not among them: few jobs need it.
_PATIENCE_SECONDS = 0.5
_WARM = (
    "worker.engine.pipeline",
    "worker.engine.formats.onnx.adapter",
    "worker.engine.formats.torchscript.adapter",
    "worker.engine.calibration.calibrate",
)


def main(arguments: list[str]) -> None:
    """Serve one command, and end with one `succeeded` or `failed` message.

    - `[REQUEST]` compresses, `["inspect", REQUEST]` inspects, `["advise", REQUEST]` compares ways
      to compress: a `Request` as JSON.
    - `["calibrate-host", FORMAT, PATH]` writes the cost table of this host.
    - `["device", NAME]` computes on a device once, to see that it is there.
    - `["wait"]` imports the engine, reads one of the commands above from standard input, as a list
      of JSON, and serves it.
    """
    messages = _take_standard_output()
    # torch 2.13 announces the end of TorchScript on every call; the format stays in use
    warnings.filterwarnings("ignore", message="`torch.jit", category=DeprecationWarning)
    try:
        if arguments == [WAIT]:
            arguments = _wait_for_command()
        _serve(arguments, messages)
    except Refusal as refusal:
        _send(messages, {"event": "failed", "error": refusal.as_dict()})
    except MemoryError:
        traceback.print_exc()
        detail = "the model needs more memory than a job may use"
        _send_failure(messages, Code.OUT_OF_MEMORY, detail)
    # any other exception is a fault of the engine, which another attempt would only repeat: it is
    # logged, and reported with a code
    except Exception as error:
        traceback.print_exc()
        if isinstance(error, OSError) and error.errno in _DISK_FULL:
            detail = "the disk has no room for the files of this model"
            _send_failure(messages, Code.STORAGE_FULL, detail)
        else:
            detail = f"the engine failed on this model: {type(error).__name__}: {error}"
            _send_failure(messages, Code.ENGINE_ERROR, detail[:_LONGEST_DETAIL])
    else:
        _send(messages, {"event": "succeeded"})


def _serve(arguments: list[str], messages: TextIO) -> None:
    def emit(phase: Phase, fraction: float) -> None:
        _send(messages, {"event": "progress", "phase": phase, "fraction": fraction})

    # each command imports what it needs: torch takes a second, and the gate comes before onnx
    match arguments:
        case ["calibrate-host", name, path]:
            from worker.engine.costs import benchmark

            table = benchmark.measure(
                named(name), lambda done, of: emit("measuring", done / of)
            )
            table.write(Path(path))
        case ["device", name]:
            from worker.engine.numerics import device

            device.choose(name)
        case [*command, text]:
            request = Request.from_json(text)
            if request.limits is not None:
                require_safe(Path(request.model), request.format, request.limits)
            from worker.engine import pipeline

            if command == ["inspect"]:
                pipeline.inspect(request, emit)
            elif command == ["advise"]:
                from worker.engine.advising import advise

                advise(request, emit, pipeline.compress)
            else:
                pipeline.compress(request, emit)


def _wait_for_command() -> list[str]:
    """Import the engine until standard input brings a command, and return that.

    The process ends where its parent sends none.
    """
    # Where jobs wait, the command comes at once, and imports only what it needs.
    if not _has_command(_PATIENCE_SECONDS):
        for module in _WARM:
            import_module(module)
            if _has_command(0):
                break
    text = sys.stdin.buffer.read()
    if not text:
        sys.exit()
    # Nothing more comes, and nothing of the worker's stays open.
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123 - a descriptor, not a file
        os.dup2(nothing.fileno(), sys.stdin.fileno())
    command: list[str] = json.loads(text)
    return command


def _has_command(seconds: float) -> bool:
    """Wait until standard input brings a command or ends, and tell whether it has."""
    return bool(select.select([sys.stdin], [], [], seconds)[0])


def _take_standard_output() -> TextIO:
    """Keep standard output for messages: output of libraries goes to standard error."""
    messages = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return messages


def _send_failure(messages: TextIO, code: Code, detail: str) -> None:
    _send(messages, {"event": "failed", "error": {"code": code, "detail": detail}})


def _send(messages: TextIO, message: dict[str, object]) -> None:
    messages.write(json.dumps(message) + "\n")
    messages.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
