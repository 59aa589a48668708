"""The service with injected faults: benchmarks/chaos.py, shorter."""

import chaos
import pytest


@pytest.mark.long
def test_nothing_is_lost_on_files(tmp_path):
    figures, wrong = chaos.run(tmp_path, servers=False, jobs=12, faults=6, seed=1)
    assert wrong == []
    assert figures["jobs"] == 12


@pytest.mark.long
@pytest.mark.parametrize("servers", [False, True], ids=["files", "servers"])
def test_nothing_is_lost_at_length(tmp_path, servers):
    if servers:
        tmp_path.chmod(0o755)
    figures, wrong = chaos.run(tmp_path, servers=servers, jobs=200, faults=100, seed=2)
    assert wrong == []
    assert figures["jobs"] == 200
