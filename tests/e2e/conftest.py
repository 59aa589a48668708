"""The service with its embedded defaults, started once for all tests that leave it running."""

from collections.abc import Iterator

import pytest
from support.service.running_service import Service, serving


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The running service, with jobs of other tests in it."""
    with serving(tmp_path_factory.mktemp("service") / "data") as running:
        yield running
