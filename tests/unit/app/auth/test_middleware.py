"""Nobody comes in without a key, sees another's jobs, or takes more than is granted."""

import uuid

import pytest
from sqlalchemy import select
from starlette.datastructures import Headers
from support.callers import FORM, ONNX, SHA256, bearing, post, token

from app import identity
from app.auth import keys, middleware, rate_limit
from app.db.models import Job
from app.db.session import transaction
from app.main import create_app

CALLS = [
    ("GET", "/jobs"),
    ("POST", "/jobs"),
    ("GET", "/jobs/{id}"),
    ("GET", "/jobs/{id}/artifact"),
    ("HEAD", "/jobs/{id}/artifact"),
    ("GET", "/jobs/{id}/report"),
    ("HEAD", "/jobs/{id}/report"),
    ("GET", "/jobs/{id}/events"),
    ("POST", "/jobs/{id}/cancel"),
    ("DELETE", "/jobs/{id}"),
    ("GET", "/nowhere"),
    ("GET", "/models/{sha256}"),
    ("GET", "/stats"),
    ("GET", "/metrics"),
    ("GET", "/"),
    ("GET", "/dashboard/jobs/{id}"),
    ("POST", "/dashboard/jobs/{id}/cancel"),
    ("POST", "/dashboard/jobs/{id}/delete"),
    ("POST", "/dashboard/jobs/{id}/again"),
    ("GET", "/dashboard/models/{sha256}"),
    ("GET", "/dashboard/compare?job={id}&job={id}"),
    ("GET", "/dashboard/system"),
    ("POST", "/dashboard/sign-out"),
]
OPEN = {
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/dashboard/sign-in"),
    ("POST", "/dashboard/sign-in"),
}


def test_every_call_of_the_service_is_among_those_tried(guarded):
    routers = [
        route.original_router for route in guarded().app.routes if hasattr(route, "original_router")
    ]
    served = {
        (method, route.path)
        for router in routers
        for route in router.routes
        for method in route.methods
    }
    tried = {(method, path.partition("?")[0].replace("{id}", "{job_id}")) for method, path in CALLS}
    assert len(served) > 20
    assert served - OPEN == tried - {("GET", "/nowhere")}


@pytest.mark.parametrize(("method", "path"), CALLS)
def test_without_a_good_key_nothing_is_done(guarded, method, path):
    client = guarded()
    good = token()
    job = post(client, good).json()["id"]
    revoked = token()
    with transaction() as session:
        assert keys.revoke(session, revoked.split("_")[1])
    path = path.format(id=job, sha256=SHA256)
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


@pytest.mark.parametrize(("method", "path"), [call for call in CALLS if "{" in call[1]])
def test_the_jobs_of_others_do_not_exist(guarded, method, path):
    client = guarded()
    job = post(client, token("ann")).json()["id"]
    assert (
        client.request(
            method, path.format(id=job, sha256=SHA256), headers=bearing(token("bob"))
        ).status_code
        == 404
    )
    if not path.endswith("/events"):  # which would not end
        for given in (token("root", "admin"), token("ann")):
            assert (
                client.request(
                    method, path.format(id=job, sha256=SHA256), headers=bearing(given)
                ).status_code
                != 404
            )


def test_lists_are_of_ones_own_jobs(guarded):
    client = guarded()
    mine = {post(client, token("ann")).json()["id"] for _ in range(3)}
    post(client, token("bob"))
    found = client.get("/jobs?limit=2", headers=bearing(token("ann"))).json()
    rest = client.get(f"/jobs?cursor={found['next_cursor']}", headers=bearing(token("ann"))).json()
    assert {job["id"] for job in found["jobs"] + rest["jobs"]} == mine
    assert len(client.get("/jobs", headers=bearing(token("root", "admin"))).json()["jobs"]) == 4


def test_scopes_are_kept_apart(guarded):
    client = guarded()
    reader, poster = token("ann", "read"), token("ann", "submit")
    refused = post(client, reader)
    assert (refused.status_code, refused.json()["code"]) == (403, "scope_missing")
    assert post(client, poster).status_code == 202
    assert client.get("/jobs", headers=bearing(poster)).status_code == 403
    assert client.get("/jobs", headers=bearing(reader)).status_code == 200


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
        "/jobs", content=body(), headers={"Content-Type": "multipart/form-data; boundary=x"}
    )
    assert answer.status_code == 401


def test_requests_are_counted_by_owner(guarded):
    client = guarded(owner_requests_per_minute="3")
    ann, other = token("ann"), token("ann")
    assert [
        client.get("/jobs", headers=bearing(each)).status_code for each in (ann, other, ann)
    ] == [200] * 3
    late = client.get("/jobs", headers=bearing(other))
    assert (late.status_code, late.json()["code"]) == (429, "rate_exceeded")
    assert 1 <= int(late.headers["Retry-After"]) <= 61
    assert client.get("/jobs", headers=bearing(token("bob"))).status_code == 200


def test_requests_are_counted_in_redis_for_all_processes(configure, redis_url):
    configure(broker_url=redis_url)
    owner = uuid.uuid4().hex
    assert [rate_limit.wait_needed(owner, 2, lambda: 600.0) for _ in range(3)] == [None, None, 61]
    assert rate_limit.wait_needed(owner, 2, lambda: 661.0) is None


def test_redis_that_is_down_turns_nobody_away(configure):
    configure(broker_url="redis://127.0.0.1:1/0")
    assert rate_limit.wait_needed(uuid.uuid4().hex, 1) is None


@pytest.mark.parametrize(
    "settings", [{"owner_unfinished_jobs": "1"}, {"owner_stored_bytes": "2000"}]
)
def test_what_an_owner_may_have_is_bounded(guarded, settings):
    def post(client, given):
        model = ONNX + b"\x32\xe8\x07" + bytes(1000)  # with a description of a thousand bytes
        form = {"data": {"flops_budget": "0.5"}, "files": {"model": ("net.onnx", model)}}
        return client.post("/jobs", **form, headers=bearing(given))

    client = guarded(**settings)
    ann = token("ann")
    assert post(client, ann).status_code == 202
    full = post(client, ann)
    assert (full.status_code, full.json()["code"]) == (429, "quota_exceeded")
    assert int(full.headers["Retry-After"]) > 0
    assert post(client, token("bob")).status_code == 202


def test_without_keys_this_machine_alone_is_served():
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/jobs",
        "headers": [],
        "client": ("192.0.2.1", 1),
    }
    with pytest.raises(middleware.Problem) as refused:
        middleware._check_nearness(scope, Headers(scope=scope))
    assert refused.value.members["code"] == "keys_required"
    middleware._check_nearness({**scope, "client": ("127.0.0.1", 1)}, Headers(scope=scope))


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "[::2]:80", "", "["]
)
def test_without_keys_other_names_of_this_machine_are_turned_away(client, host):
    refused = client.get("/jobs", headers={"Host": host})
    assert (refused.status_code, refused.json()["code"], refused.json()["field"]) == (
        403,
        "origin_refused",
        "Host",
    )


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1", "127.0.0.1:8000", "[::1]:8000"])
def test_without_keys_this_machines_own_names_are_served(client, host):
    assert client.get("/jobs", headers={"Host": host}).status_code == 200


def test_pages_of_other_sites_are_turned_away(client, configure, client_of):
    strange = {"Origin": "https://evil.example"}
    refused = client.post("/jobs", **FORM, headers=strange)
    assert (refused.status_code, refused.json()["code"]) == (403, "origin_refused")
    assert "access-control-allow-origin" not in refused.headers
    assert client.get("/jobs", headers={"Origin": "http://localhost"}).status_code == 200
    configure(cors_origins='["https://evil.example"]')
    opened = client_of(create_app()).get("/jobs", headers=strange)
    assert (opened.status_code, opened.headers["access-control-allow-origin"]) == (
        200,
        "https://evil.example",
    )


def test_answers_carry_headers_that_keep_browsers_from_guessing(client):
    for path in ("/healthz", "/jobs", "/nowhere", "/docs"):
        headers = client.get(path).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "DENY"
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]


def test_forwarded_addresses_are_believed_of_configured_proxies_alone(configure, client_of):
    forwarded = {"X-Forwarded-For": "192.0.2.1"}
    configure()
    assert client_of(create_app()).get("/jobs", headers=forwarded).status_code == 200
    configure(trusted_proxies='["127.0.0.1"]')
    assert client_of(create_app()).get("/jobs", headers=forwarded).json()["code"] == "keys_required"


def test_a_token_is_not_kept_and_not_logged(guarded, caplog):
    client = guarded()
    given = token()
    with caplog.at_level("DEBUG"):
        post(client, given)
    secret = given.rpartition("_")[2]
    assert secret not in caplog.text
    with transaction() as session:
        [key] = keys.listed(session)
        assert secret not in str(
            {name: getattr(key, name) for name in key.__table__.columns.keys()}  # noqa: SIM118
        )


@pytest.mark.parametrize(
    ("owner", "scopes"),
    [("", ["read"]), ("a b", ["read"]), ("x" * 64, ["read"]), ("ann", ["root"])],
)
def test_wrong_keys_are_not_made(session, owner, scopes):
    with pytest.raises(ValueError, match="not"):
        keys.create(session, owner, scopes)


def test_the_worker_sees_all_jobs(guarded):
    client = guarded()
    post(client, token("ann")), post(client, token("bob"))
    assert identity.current_owner.get() is None
    with transaction() as session:
        assert sorted(job.owner for job in session.scalars(select(Job))) == ["ann", "bob"]


def test_a_model_of_others_cannot_be_named(guarded):
    client = guarded()
    ann, bob = bearing(token("ann")), bearing(token("bob"))
    client.post("/jobs", **FORM, headers=ann)
    form = {"files": {"flops_budget": (None, "0.5"), "model_sha256": (None, SHA256)}}
    assert client.post("/jobs", **form, headers=ann).status_code == 202
    assert client.post("/jobs", **form, headers=bob).json()["code"] == "model_not_found"


def test_idempotency_keys_are_their_owners(guarded):
    client = guarded()
    keyed = {"Idempotency-Key": "once"}
    ids = [
        client.post("/jobs", **FORM, headers=bearing(given) | keyed).json()["id"]
        for given in (token("ann"), token("bob"), token("ann"), token("root", "admin"))
    ]
    assert ids[0] == ids[2]
    assert len(set(ids)) == 3
