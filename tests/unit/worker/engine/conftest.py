"""Models are timed briefly: tests that are about times move the clocks by hand."""

import pytest

from worker.engine import timing


@pytest.fixture(autouse=True)
def brief_timing(monkeypatch):
    """Time a small model as often as any other, not for a tenth of a second."""
    monkeypatch.setattr(timing, "_FEWEST_SECONDS", 0.0)
