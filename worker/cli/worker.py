"""`convpress worker`: work on jobs."""

import typer

from worker.cli.environment import read_settings
from worker.cli.exits import REFUSED, USAGE, end, require_extra


def worker() -> None:
    """Run a worker until it is stopped."""
    require_extra("server", "engine")
    from worker.sandbox.doctor import (
        DeviceMissing,
        SandboxIncomplete,
        require,
        require_device,
    )

    try:
        require(read_settings())
        require_device(read_settings().device)
    except (DeviceMissing, SandboxIncomplete) as error:
        end(str(error), REFUSED)
    from app.tracing import TracingMissing
    from worker.celery_app import run_worker

    try:
        raise typer.Exit(run_worker())
    except TracingMissing as error:
        end(str(error), USAGE)
