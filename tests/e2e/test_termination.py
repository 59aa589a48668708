"""What an orchestrator does to the service: SIGTERM ends all of it, in time, and the running job waits for the next."""

import signal

import psutil
from support.running_service import serving, wait_for


def test_sigterm_ends_everything_and_the_job_goes_back_uncounted(tmp_path):
    data_dir = tmp_path / "data"
    with serving(data_dir) as service:
        job = service.post()
        wait_for(lambda: service.children("worker.engine"), "an engine child")
        family = psutil.Process(service.process.pid).children(recursive=True)
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(10) in (0, 128 + signal.SIGTERM)
        wait_for(
            lambda: not any(child.is_running() for child in family), "all its processes to end", 1
        )
        assert list((data_dir / "scratch").iterdir()) == []
    with serving(data_dir) as service:
        assert service.wait(job["id"])["state"] == "succeeded"
    assert '"attempt": 1' in (data_dir / "service.log").read_text()
    assert '"attempt": 2' not in (data_dir / "service.log").read_text()
