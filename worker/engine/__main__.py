"""The child process: one request on the command line, JSON lines on standard output, one job and out."""

import errno
import json
import os
import sys
import traceback
import warnings
from pathlib import Path
from typing import TextIO

from convpress.formats import named
from convpress.gate import check as gate
from convpress.refusal import Code, Refusal
from worker.engine.request import Phase, Request


def main(arguments: list[str]) -> None:
    """Serve `[REQUEST]` or `["inspect", REQUEST]`, a `Request` as JSON, or `["calibrate-host", FORMAT, PATH]`.

    `["device", NAME]` has a device compute once. It ends with one succeeded or failed message.
    """
    messages = _take_standard_output()
    # torch 2.13 announces the end of TorchScript on every call; the format stays in use
    warnings.filterwarnings("ignore", message="`torch.jit", category=DeprecationWarning)

    def emit(phase: Phase, fraction: float) -> None:
        _say(messages, {"event": "progress", "phase": phase, "fraction": fraction})

    try:
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
                    gate.check(Path(request.model), request.format, request.limits)
                from worker.engine import pipeline

                serve = pipeline.inspect if command == ["inspect"] else pipeline.compress
                serve(request, emit)
    except Refusal as refusal:
        _say(messages, {"event": "failed", "error": refusal.as_dict()})
    except MemoryError:
        traceback.print_exc()
        error = {
            "code": Code.OUT_OF_MEMORY,
            "detail": "the model needs more memory than a job may use",
        }
        _say(messages, {"event": "failed", "error": error})
    except (
        Exception
    ) as unexpected:  # a fault of ours, which trying again would only repeat: said, logged, coded
        traceback.print_exc()
        if isinstance(unexpected, OSError) and unexpected.errno in (errno.ENOSPC, errno.EDQUOT):
            error = {
                "code": Code.STORAGE_FULL,
                "detail": "the disk has no room for what is made of this model",
            }
        else:
            detail = f"the engine failed on this model: {type(unexpected).__name__}: {unexpected}"[
                :1000
            ]
            error = {"code": Code.ENGINE_ERROR, "detail": detail}
        _say(messages, {"event": "failed", "error": error})
    else:
        _say(messages, {"event": "succeeded"})


def _take_standard_output() -> TextIO:
    """Keep standard output for messages: whatever else a library prints goes to standard error."""
    messages = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return messages


def _say(messages: TextIO, message: dict[str, object]) -> None:
    messages.write(json.dumps(message) + "\n")
    messages.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
