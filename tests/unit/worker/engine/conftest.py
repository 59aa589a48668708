"""Tests of the engine compute on one thread, as jobs do, and time models briefly.

Tests that are about times move the clocks by hand.
"""

import pytest
import torch

from worker.engine import timing


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Compute on one thread, as the process of a job does from its start."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def brief_timing(monkeypatch):
    """Time a small model as often as any other, not for a tenth of a second."""
    monkeypatch.setattr(timing, "_FEWEST_SECONDS", 0.0)
