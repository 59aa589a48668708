"""No request is served without a key, and no owner sees the jobs of another."""

import pytest
from sqlalchemy.exc import OperationalError
from support.service.callers import CALLS, FORM, SHA256, bearing, post, token

from app.auth import keys
from app.db.session import transaction
from app.main import create_app

OPEN = {
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/dashboard/sign-in"),
    ("POST", "/dashboard/sign-in"),
}


def test_every_call_of_the_service_is_among_those_tried(guarded):
    routers = [
        route.original_router
        for route in guarded().app.routes
        if hasattr(route, "original_router")
    ]
    served = {
        (method, route.path)
        for router in routers
        for route in router.routes
        for method in route.methods
    }
    tried = {(method, path.partition("?")[0]) for method, path, _ in CALLS}
    assert len(served) > 20
    assert served - OPEN == tried


@pytest.mark.parametrize(
    ("method", "path"), [call[:2] for call in CALLS] + [("GET", "/nowhere")]
)
def test_without_a_good_key_nothing_is_done(guarded, method, path):
    client = guarded()
    good = token()
    job = post(client, good).json()["id"]
    revoked = token()
    with transaction() as session:
        assert keys.revoke(session, revoked.split("_")[1])
    path = path.format(job_id=job, sha256=SHA256)
    assert client.request(method, path).status_code == 401
    for bad in (
        revoked,
        good[:-1],
        good + "x",
        good.upper(),
        "cp__",
        "",
        good.replace(good.split("_")[1], "0" * 16),
    ):
        answer = client.request(method, path, headers=bearing(bad))
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        if method != "HEAD":
            assert answer.json()["code"] == "key_invalid" if bad else "key_missing"


@pytest.mark.parametrize(
    ("method", "path"), [call[:2] for call in CALLS if "{" in call[1]]
)
def test_the_jobs_of_others_do_not_exist(guarded, method, path):
    client = guarded()
    job = post(client, token("ann")).json()["id"]
    path = path.format(job_id=job, sha256=SHA256)

    def status(key):
        body = {"note": "a note"} if method == "PATCH" else None
        return client.request(method, path, headers=bearing(key), json=body).status_code

    assert status(token("bob")) == 404
    if not path.endswith("/events"):  # which would not end
        assert status(token("root", "admin")) != 404
        assert status(token("ann")) != 404


def test_lists_are_of_ones_own_jobs(guarded):
    client = guarded()
    mine = {post(client, token("ann")).json()["id"] for _ in range(3)}
    post(client, token("bob"))
    page = client.get("/jobs?limit=2", headers=bearing(token("ann"))).json()
    rest = client.get(
        f"/jobs?cursor={page['next_cursor']}", headers=bearing(token("ann"))
    ).json()
    assert {job["id"] for job in page["jobs"] + rest["jobs"]} == mine
    assert (
        len(client.get("/jobs", headers=bearing(token("root", "admin"))).json()["jobs"])
        == 4
    )


def test_a_database_that_does_not_answer_is_no_fault_of_the_service(
    guarded, monkeypatch
):
    def verify(session, token):
        raise OperationalError("SELECT", {}, ConnectionError("refused"))

    client, key = guarded(), token()
    monkeypatch.setattr(keys, "verify", verify)
    answer = client.get("/jobs", headers=bearing(key))
    assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
    assert answer.headers["Retry-After"]


def test_what_tells_of_the_service_itself_needs_no_key(guarded):
    client = guarded()
    for path in ("/healthz", "/readyz", "/openapi.json", "/docs"):
        assert client.get(path).status_code == 200
    assert client.get("/healthzz").status_code == 401


def test_the_body_of_a_stranger_is_not_read(guarded):
    async def body():
        raise AssertionError("it was read")
        yield b""

    answer = guarded().post(
        "/jobs",
        content=body(),
        headers={"Content-Type": "multipart/form-data; boundary=x"},
    )
    assert answer.status_code == 401


def test_forwarded_addresses_are_believed_of_configured_proxies_alone(
    configure, client_of
):
    forwarded = {"X-Forwarded-For": "192.0.2.1"}
    configure()
    assert client_of(create_app()).get("/jobs", headers=forwarded).status_code == 200
    configure(trusted_proxies='["127.0.0.1"]')
    assert (
        client_of(create_app()).get("/jobs", headers=forwarded).json()["code"]
        == "keys_required"
    )


def test_a_token_is_not_kept_and_not_logged(guarded, caplog):
    client = guarded()
    bearer_token = token()
    with caplog.at_level("DEBUG"):
        post(client, bearer_token)
    secret = bearer_token[-20:]
    assert secret not in caplog.text
    with transaction() as session:
        [key] = keys.listed(session)
        assert secret not in str(
            {name: getattr(key, name) for name in key.__table__.columns.keys()}  # noqa: SIM118
        )


def test_a_model_of_others_cannot_be_named(guarded):
    client = guarded()
    ann = bearing(token("ann"))
    bob = bearing(token("bob"))
    client.post("/jobs", **FORM, headers=ann)
    form = {"files": {"flops_budget": (None, "0.5"), "model_sha256": (None, SHA256)}}
    assert client.post("/jobs", **form, headers=ann).status_code == 202
    assert client.post("/jobs", **form, headers=bob).json()["code"] == "model_not_found"


def test_idempotency_keys_are_their_owners(guarded):
    client = guarded()
    keyed = {"Idempotency-Key": "once"}
    ids = [
        client.post("/jobs", **FORM, headers=bearing(secret) | keyed).json()["id"]
        for secret in (token("ann"), token("bob"), token("ann"), token("root", "admin"))
    ]
    assert ids[0] == ids[2]
    assert len(set(ids)) == 3
