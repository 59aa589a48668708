"""Signing in: from this service's page, and only where there are keys."""

import pytest
from support.service.callers import FORM, HTML, OWN, bearing, cookie, post, token


@pytest.mark.parametrize("action", ["cancel", "delete", "again"])
def test_a_cookie_changes_nothing_from_elsewhere(guarded, action):
    client = guarded(cors_origins='["https://friend.example"]')
    ann = token("ann")
    job = post(client, ann).json()["id"]
    for headers in (
        {},
        {"Origin": "null"},
        {"Origin": "https://evil.example"},
        {"Origin": "https://friend.example"},
    ):
        answer = client.post(
            f"/dashboard/jobs/{job}/{action}", headers=cookie(ann) | headers
        )
        assert answer.status_code == 403
    assert (
        client.request("DELETE", f"/jobs/{job}", headers=cookie(ann)).status_code == 403
    )
    assert client.get(f"/jobs/{job}", headers=bearing(ann)).json()["state"] == "queued"


def test_signing_in_is_from_this_services_page_and_secure_over_tls(guarded):
    client = guarded()
    ann = token("ann")
    poster = token("ann", "submit")
    form = {"key": ann, "next": "/dashboard/system"}
    assert (
        client.post(
            "/dashboard/sign-in", data=form, headers={"Origin": "https://evil.example"}
        ).status_code
        == 403
    )
    signed = client.post("/dashboard/sign-in", data=form, headers=OWN)
    assert signed.status_code == 303
    assert signed.headers["location"] == "/dashboard/system"
    kept = signed.headers["set-cookie"].lower()
    assert "httponly" in kept
    assert "samesite=strict" in kept
    assert "secure" not in kept
    over_tls = client.post(
        "https://localhost/dashboard/sign-in", data=form, headers=OWN
    )
    assert "secure" in over_tls.headers["set-cookie"].lower()
    assert (
        client.post("/dashboard/sign-in", data={"key": poster}, headers=OWN).status_code
        == 403
    )


def test_without_keys_nobody_signs_in(client):
    assert client.get("/dashboard/sign-in").headers["location"] == "/"
    client.post("/jobs", **FORM)
    assert "net.onnx" in client.get("/", headers=HTML).text
