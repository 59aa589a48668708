"""The service with its embedded defaults, started once for all tests that leave it running."""

from collections.abc import Iterator

import pytest
from digits import MODELS
from support.service.running_service import Service, serving

from convpress import Client
from convpress.schemas import Job


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The running service, with jobs of other tests in it."""
    with serving(tmp_path_factory.mktemp("service") / "data") as running:
        yield running


@pytest.fixture(scope="session")
def address(service: Service) -> tuple[str, int | None]:
    """The host and the port of the service."""
    url = service.http.base_url
    return url.host, url.port


@pytest.fixture(scope="session")
def done(service: Service) -> Job:
    """A job that has succeeded, the only one with its label."""
    with Client(str(service.http.base_url)) as client:
        return client.wait(
            client.submit(
                MODELS / "residual.onnx",
                "0.5",
                calibration="none",
                labels={"of": "all"},
            )
        )
