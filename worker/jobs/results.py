"""The results of a job: what its child wrote, hashed by the worker and put into the store."""

import hashlib
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from app.storage import Storage, artifact_key
from convpress.formats import Format
from convpress.limits import Limits
from convpress.report import Report
from convpress.report.advice import Advice
from worker.queue.lease import AdviceResult, Result
from worker.sandbox.outputs import check_artifact, open_plain, take

_CHUNK = 1024**2
# A job's row is read at each poll: the report has all operators, with their whole names.
_MOST_UNACCOUNTED = 20
_LONGEST_TEXT = 200
_LONGEST_ADVICE = 1000


def store(
    job_id: uuid.UUID,
    artifact: Path,
    report: Path,
    model_format: Format,
    *,
    largest: int,
    limits: Limits,
    storage: Storage,
) -> Result:
    """Put the artifact and the report of a child into the store, and return the job's result.

    Raises:
        MalformedOutput: a file is missing, not a plain file, larger than `largest` bytes, or
            invalid.
    """
    content, account = take(Report, report, limits)
    key_of = partial(artifact_key, job_id)
    check = partial(check_artifact, model_format=model_format, limits=limits)
    with open_plain(artifact, largest) as file:
        chunks = iter(lambda: file.read(_CHUNK), b"")
        sha256, size = keep(storage, chunks, key_of, check)
    report_sha256, _ = keep(storage, iter([content]), key_of)
    return Result(
        macs_before=account.before.macs,
        macs_after=account.after.macs,
        unaccounted=_unaccounted(account),
        measured_error=account.verification.relative_error,
        risk_level=account.risk.level,
        evaluation=_evaluation(account),
        artifact_sha256=sha256,
        artifact_bytes=size,
        report_sha256=report_sha256,
    )


def store_advice(
    job_id: uuid.UUID, report: Path, *, limits: Limits, storage: Storage
) -> AdviceResult:
    """Put the advice of a child into the store, and return the job's result.

    Raises:
        MalformedOutput: it is missing, not a plain file, too large or invalid.
    """
    content, advice = take(Advice, report, limits)
    report_sha256, _ = keep(storage, iter([content]), partial(artifact_key, job_id))
    summary = {
        "choice": None if advice.choice is None else advice.choice[:_LONGEST_TEXT],
        "text": advice.text[:_LONGEST_ADVICE],
    }
    return AdviceResult(summary, report_sha256)


def _evaluation(account: Report) -> dict[str, Any] | None:
    """Return the members of an account's evaluation, with names that a row can hold."""
    if account.evaluation is None:
        return None
    members = account.evaluation.model_dump()
    for name in ("metric", "output"):
        if members[name] is not None:
            members[name] = members[name][:_LONGEST_TEXT]
    return members


def _unaccounted(account: Report) -> list[dict[str, str]]:
    """Return the members of the first operators that an account leaves out."""
    operators = []
    for operator in account.unaccounted[:_MOST_UNACCOUNTED]:
        members = operator.model_dump()
        operators.append({name: text[:_LONGEST_TEXT] for name, text in members.items()})
    return operators


def keep(
    storage: Storage,
    chunks: Iterator[bytes],
    key_of: Callable[[str], str],
    check: Callable[[Path], None] = lambda _: None,
) -> tuple[str, int]:
    """Put bytes into the store, under the key for their SHA-256.

    Return the SHA-256 and the size.
    """
    digest = hashlib.sha256()
    size = 0
    with storage.stage() as staged:
        path = Path(staged.name)
        try:
            for chunk in chunks:
                digest.update(chunk)
                size += len(chunk)
                staged.write(chunk)
            staged.flush()
            check(path)
            key = key_of(digest.hexdigest())
            storage.prepare(path, key)
            storage.keep(path, key)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
    return digest.hexdigest(), size
