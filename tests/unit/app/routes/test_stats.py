"""Statistics over HTTP: for owners their own, for administrators and Prometheus all."""

from support.service.job_history import add

from app.auth import keys
from app.db.session import transaction
from app.main import create_app


def test_stats_are_the_same_as_json(client_of, session, filled):
    answer = client_of(create_app()).get("/stats", params={"by": "day"}).json()
    assert answer["jobs"]["succeeded"] == 1
    assert answer["failures"] == {"budget_unreachable": 1, "worker_lost": 1}
    assert len(answer["history"]) == 30
    assert answer["service"]["phases"]["loading"]["at_most"]["0.1"] == 1
    assert [worker["name"] for worker in answer["service"]["workers"]] == ["host:7"]
    assert (
        client_of(create_app()).get("/stats", params={"by": "year"}).json()["field"]
        == "by"
    )


def test_a_key_opens_what_its_scope_says(configure, client_of):
    configure(api_keys="true")
    tokens = {}
    with transaction() as session:
        add(session, "succeeded", owner="ann", macs_before=100, macs_after=40)
        add(session, "queued", owner="bob")
        for scope in keys.SCOPES:
            tokens[scope] = keys.create(session, "bob", [scope])[1]
    client = client_of(create_app())

    def ask(scope, path):
        return client.get(path, headers={"Authorization": f"Bearer {tokens[scope]}"})

    assert client.get("/metrics").status_code == 401
    assert {scope: ask(scope, "/metrics").status_code for scope in keys.SCOPES} == {
        "submit": 403, "read": 403, "metrics": 200, "admin": 200,
    }  # fmt: skip
    assert {scope: ask(scope, "/stats").status_code for scope in keys.SCOPES} == {
        "submit": 403, "read": 200, "metrics": 403, "admin": 200,
    }  # fmt: skip
    assert 'convpress_jobs{state="succeeded"} 1.0' in ask("metrics", "/metrics").text
    answer = ask("read", "/stats").json()
    assert answer["jobs"]["queued"] == 1
    assert answer["jobs"]["succeeded"] == 0
    assert answer["service"] is None
    assert ask("admin", "/stats").json()["jobs"]["succeeded"] == 1
    assert ask("admin", "/stats").json()["service"]["leases"] == 0
