"""Without keys only this machine is served, and never the pages of other sites."""

import pytest
from starlette.datastructures import Headers
from support.service.callers import FORM

from app.errors import Problem
from app.http.origin import check_local
from app.main import create_app


def test_without_keys_this_machine_alone_is_served():
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/jobs",
        "headers": [],
        "client": ("192.0.2.1", 1),
    }
    with pytest.raises(Problem) as refused:
        check_local(scope, Headers(scope=scope))
    assert refused.value.members["code"] == "keys_required"
    check_local({**scope, "client": ("127.0.0.1", 1)}, Headers(scope=scope))


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8000",
        "127.0.0.1.evil.example",
        "[::2]:80",
        "",
        "[",
    ],
)
def test_without_keys_other_names_of_this_machine_are_turned_away(client, host):
    refused = client.get("/jobs", headers={"Host": host})
    assert refused.status_code == 403
    assert refused.json()["code"] == "origin_refused"
    assert refused.json()["field"] == "Host"


@pytest.mark.parametrize(
    "host", ["localhost:8000", "127.0.0.1", "127.0.0.1:8000", "[::1]:8000"]
)
def test_without_keys_this_machines_own_names_are_served(client, host):
    assert client.get("/jobs", headers={"Host": host}).status_code == 200


def test_pages_of_other_sites_are_turned_away(client, configure, client_of):
    strange = {"Origin": "https://evil.example"}
    refused = client.post("/jobs", **FORM, headers=strange)
    assert refused.status_code == 403
    assert refused.json()["code"] == "origin_refused"
    assert "access-control-allow-origin" not in refused.headers
    assert (
        client.get("/jobs", headers={"Origin": "http://localhost"}).status_code == 200
    )
    configure(cors_origins='["https://evil.example"]')
    opened = client_of(create_app()).get("/jobs", headers=strange)
    assert opened.status_code == 200
    assert opened.headers["access-control-allow-origin"] == "https://evil.example"
