"""The errors that a client raises; all of them are a `ClientError`."""

from convpress.schemas import Job, Problem


class ClientError(Exception):
    """A call failed."""


class Refused(ClientError):
    """The service answered with a problem. Its `code` is stable; docs/api.md lists all codes."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(f"{problem.code}: {problem.detail}")
        self.problem = problem


class Unavailable(ClientError):
    """The service did not answer for as long as `patience` lasted, or another service answered."""


class JobFailed(ClientError):
    """The job ended without an artifact. `job.error` gives the reason, unless it was cancelled."""

    def __init__(self, job: Job) -> None:
        message = (
            "the job was cancelled"
            if job.state == "cancelled"
            else "the job has failed"
        )
        if job.error:
            message = f"{job.error.code}: {job.error.detail}"
        super().__init__(message)
        self.job = job


class TooLate(ClientError):
    """The job did not end within the timeout; `job` is its last known state."""

    def __init__(self, job: Job, seconds: float) -> None:
        super().__init__(f"the job is still {job.state} after {seconds:g} seconds")
        self.job = job


class Corrupt(ClientError):
    """The downloaded file is not the artifact of the job; it was deleted."""
