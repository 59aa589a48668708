"""A service without a network: a client that knows one job, and notes what it is asked."""

import pytest
from support.service import fake_engine
from support.service.rendering import example_job

from convpress.client import client as client_module


class FakeClient:
    """A client of a service with one job, which has succeeded."""

    def __init__(self):
        self.known = example_job()
        self.calls = []
        self.error = None
        self.is_empty = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def _answer(self, name, *arguments, **options):
        self.calls.append((name, arguments, options))
        if self.error is not None:
            raise self.error
        return self.known

    def job(self, job_id):
        return self._answer("job", job_id)

    def cancel(self, job_id):
        return self._answer("cancel", job_id)

    def list(self, **filters):
        known = self._answer("list", **filters)
        return [] if self.is_empty else [known]

    def annotate(self, job_id, **changes):
        return self._answer("annotate", job_id, **changes)

    def report(self, job):
        self._answer("report", job)
        return fake_engine.REPORT

    def submit(self, model, flops_budget, *, on_upload, **options):
        on_upload(1, 2)
        return self._answer("submit", model, flops_budget, **options)

    def wait(self, job, *, on_progress):
        on_progress(self.known)
        return self._answer("wait", job)

    def download(self, job, path, *, on_download):
        on_download(1, 2)
        self._answer("download", job, path)
        path.write_bytes(b"artifact")

    def options_of(self, name):
        """Return the options of the only call of this name."""
        [options] = [options for called, _, options in self.calls if called == name]
        return options


@pytest.fixture
def service(monkeypatch):
    """The client that every command is given."""
    client = FakeClient()
    monkeypatch.setattr(client_module, "Client", lambda *_, **__: client)
    return client
