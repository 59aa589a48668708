"""What an orchestrator does to the service: SIGTERM ends all of it by itself, and the running job
waits for the next.

A worker that had to be killed would leave its scratch folder and count the attempt.
"""

import signal

import psutil
import pytest
from support.service.running_service import serving, wait_for

PATIENT = "from worker.cli import main, supervisor\nsupervisor._GRACE_SECONDS = 120.0\nmain.main()"
"""The service, on a machine that may be too busy for its worker to end within ten seconds."""


@pytest.mark.slow
def test_sigterm_ends_everything_and_the_job_goes_back_uncounted(tmp_path):
    data_dir = tmp_path / "data"
    with serving(data_dir, program=("-c", PATIENT)) as service:
        job, _ = service.post_and_catch()
        family = psutil.Process(service.process.pid).children(recursive=True)
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(600) in (0, 128 + signal.SIGTERM)
        wait_for(
            lambda: not any(child.is_running() for child in family),
            "all its processes to end",
        )
        assert list((data_dir / "scratch").iterdir()) == []
    with serving(data_dir) as service:
        assert service.wait(job["id"])["state"] == "succeeded"
    assert '"attempt": 1' in (data_dir / "service.log").read_text()
    assert '"attempt": 2' not in (data_dir / "service.log").read_text()
