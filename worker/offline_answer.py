"""The engine without the service as a process: one JSON request in, one JSON answer out.

`python -m worker.offline_answer` serves `convpress.compress` and `convpress.inspect`. They run it
as a process of its own, because the caller's project may have packages that are called `app` or
`worker` too.
"""

import json
import sys
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from app.logging import configure_logging
from app.settings import faults, get_settings
from worker import offline
from worker.sandbox import doctor


def main() -> None:
    """Answer one JSON request from standard input on standard output.

    The request is `{"command": "compress" or "inspect", ...}`; the answer has one member: `account`
    (a report or an inspection), `refusal` (the members of a `Refusal`) or `lost` (a sentence).
    """
    try:
        settings = get_settings()
    except ValidationError as error:
        json.dump({"lost": faults(error)}, sys.stdout)
        return
    # Without this, structlog writes to standard output, into the answer.
    configure_logging(settings.log_level)
    request = json.load(sys.stdin)
    try:
        answer: dict[str, object] = {"account": _answer(request)}
    except offline.RefusedError as error:
        answer = {"refusal": error.members}
    except (offline.LostError, doctor.SandboxIncomplete, doctor.DeviceMissing) as error:
        answer = {"lost": str(error)}
    json.dump(answer, sys.stdout)


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    model = Path(request["model"])
    if request["command"] == "inspect":
        content, _ = offline.inspect(model, request["input_shape"])
        account: dict[str, Any] = json.loads(content)
        return account
    samples = _path(request["samples"])
    evaluation = _path(request["evaluation"])
    rank = request["rank"]
    scorer = offline.read_scorer(
        request["evaluate"],
        lower_is_better=request["lower_is_better"],
        seconds=request["evaluate_seconds"],
    )
    job = offline.OfflineJob(
        options=offline.read_options(
            request["fields"],
            samples,
            needs_budget=rank is None,
            evaluation=evaluation,
            scorer=scorer,
        ),
        samples=samples,
        evaluation=evaluation,
        scorer=scorer,
        form=request["form"],
        rank=rank,
        cost_table=_path(request["cost_table"]),
        device=request["device"],
    )
    report = offline.compress(model, Path(request["output"]), None, job)
    return report.model_dump()


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)


if __name__ == "__main__":
    main()
