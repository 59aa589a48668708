"""The gate as a child process: the worker has artifacts checked where no file can hold it up.

    python -P -m worker.sandbox.gate FORMAT PATH LIMITS

LIMITS is the JSON of `convpress.limits.Limits`. The last line of output is the same message as that
of the engine: `succeeded`, or `failed` with a refusal.
"""

import json
import sys
from pathlib import Path

from convpress.formats import named
from convpress.gate.check import require_safe
from convpress.limits import Limits
from convpress.refusal import Refusal

COMMAND = (sys.executable, "-P", "-m", "worker.sandbox.gate")


def main(model_format: str, path: str, limits: str) -> None:
    """Check one file, and print the message that says how it ended."""
    message: dict[str, object] = {"event": "succeeded"}
    try:
        require_safe(Path(path), named(model_format), Limits(**json.loads(limits)))
    except Refusal as refusal:
        message = {"event": "failed", "error": refusal.as_dict()}
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
