"""The outcomes of an attempt at a job, and what each means for the job.

| Outcome            | The job                                            | The attempt counts |
| ------------------ | -------------------------------------------------- | ------------------ |
| `Result`           | succeeds                                           | yes                |
| `AdviceResult`     | succeeds                                           | yes                |
| `Failed`           | fails with the refusal of its input                | yes                |
| `TimedOut`         | fails                                              | yes                |
| `Crashed`          | fails with `engine_error`                          | yes                |
| `Lost`             | is tried again at once, and fails at the last time | yes                |
| `DiskFull`         | is tried again later, and fails at the last time   | yes                |
| `StoreUnavailable` | is tried again later, as often as necessary        | no                 |
| `Stopped`          | is tried again at once, as often as necessary      | no                 |
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy.orm import Session

from convpress.refusal import Code, Refusal
from worker.queue import lease as leases
from worker.queue.lease import AdviceResult, Lease, Result
from worker.queue.sweeper import timed_out, worker_lost
from worker.sandbox.messages import Failed
from worker.sandbox.run import Crashed, Lost, Outcome, Stopped, TimedOut


@dataclass(frozen=True)
class StoreUnavailable:
    """The artifact store did not answer."""


@dataclass(frozen=True)
class DiskFull:
    """The disk of this worker or of the store is full."""


JobOutcome = Outcome | Result | AdviceResult | DiskFull | StoreUnavailable


@dataclass(frozen=True)
class _Rule:
    """What an outcome means for its job.

    `retry` is `limited` where the job is tried again until its attempts are used up, and
    `unlimited` where the job and its child have done nothing wrong, so that the attempt does not
    count. `reason` says in the job's events why it waits again, `error` is the error of the job
    that fails after `attempts`. The job is enqueued `at_once` unless the same would happen again at
    once: then it waits for the sweeper.
    """

    retry: Literal["never", "limited", "unlimited"]
    reason: Callable[[Any], str] = lambda _: ""
    error: Callable[[Any, int], dict[str, str]] = lambda _, attempts: worker_lost(
        attempts
    )
    at_once: bool = False


def _disk_full(attempts: int) -> dict[str, str]:
    detail = f"the service's disk had no room for this job in {attempts} attempts"
    return Refusal(Code.STORAGE_FULL, detail).as_dict()


def _crashed(reason: str) -> dict[str, str]:
    detail = (
        f"the engine crashed on this model: {reason}; the likely cause is an operator that the "
        "model calls with invalid arguments"
    )
    return Refusal(Code.ENGINE_ERROR, detail).as_dict()


_RULES: Mapping[type, _Rule] = {
    Failed: _Rule("never", error=lambda failed, _: failed.error),
    TimedOut: _Rule("never", error=lambda outcome, _: timed_out(outcome.seconds)),
    Crashed: _Rule("never", error=lambda crashed, _: _crashed(crashed.reason)),
    Lost: _Rule("limited", reason=lambda lost: lost.reason, at_once=True),
    DiskFull: _Rule(
        "limited",
        reason=lambda _: "the disk is full",
        error=lambda _, attempts: _disk_full(attempts),
    ),
    StoreUnavailable: _Rule(
        "unlimited", reason=lambda _: "the artifact store does not answer"
    ),
    Stopped: _Rule(
        "unlimited", reason=lambda _: "the worker was shutting down", at_once=True
    ),
}


def is_retried(outcome: JobOutcome, attempt: int, max_attempts: int) -> bool:
    """Tell whether the job goes back into the queue after its `attempt`-th attempt."""
    if isinstance(outcome, Result | AdviceResult):
        return False
    retry = _RULES[type(outcome)].retry
    return retry == "unlimited" or (retry == "limited" and attempt < max_attempts)


def is_retried_at_once(outcome: JobOutcome, attempt: int, max_attempts: int) -> bool:
    """Tell whether the job goes back into the queue and workers are to be called for it."""
    return is_retried(outcome, attempt, max_attempts) and _RULES[type(outcome)].at_once


def commit(
    session: Session,
    lease: Lease,
    outcome: JobOutcome,
    seconds: Mapping[str, float],
    max_attempts: int,
) -> bool:
    """End the job or put it back into the queue; return whether the lease was still held.

    `seconds` are the seconds of each phase.
    """
    if isinstance(outcome, Result | AdviceResult):
        return leases.succeed(session, lease, outcome, seconds)
    rule = _RULES[type(outcome)]
    if is_retried(outcome, lease.attempt, max_attempts):
        is_blameless = rule.retry == "unlimited"
        return leases.give_back(
            session, lease, rule.reason(outcome), blameless=is_blameless
        )
    return leases.fail(session, lease, rule.error(outcome, lease.attempt))
