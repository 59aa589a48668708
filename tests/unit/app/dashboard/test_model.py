"""The page of a model: asks for advice, and shows it to the owner."""

from support.service import fake_engine
from support.service.callers import (
    HTML,
    ONNX,
    OWN,
    SHA256,
    bearing,
    cookie,
    post,
    token,
)
from support.service.ended_jobs import give_advice

STORED = {"model_sha256": (None, SHA256)}
FILES = {"files": {"model": ("net.onnx", ONNX)}}


def test_the_page_of_a_model_asks_for_an_advice_and_shows_it(client):
    client.post("/jobs", data={"flops_budget": "0.5", "input_range": "0,255"}, **FILES)
    path = f"/dashboard/models/{SHA256}"
    assert "Ask for advice" in client.get(path, headers=HTML).text
    asked = client.post(f"{path}/advice", headers=HTML | OWN, follow_redirects=False)
    assert (asked.status_code, asked.headers["location"]) == (303, f"{path}#advice")
    [job] = client.get("/jobs?kind=advice").json()["jobs"]
    assert (job["input_range"], job["flops_budget"]) == ("0,255", None)
    waiting = client.get(path, headers=HTML).text
    assert f'data-follow="/jobs/{job["id"]}/events"' in waiting
    assert "Ask " not in waiting
    give_advice(job["id"])
    for page in (path, f"/dashboard/jobs/{job['id']}"):
        shown = client.get(page, headers=HTML).text
        assert fake_engine.ADVICE["text"] in shown
        assert '<tr class="chosen"><th scope="row">int8 alone</th>' in shown
        assert "0.20 %" in shown
        assert "no factorisation reaches the budget" in shown
        assert f"/jobs/{job['id']}/artifact" not in shown
    assert "Ask again" in client.get(path, headers=HTML).text
    assert "client.advise('net.onnx'" in client.get(
        f"/dashboard/jobs/{job['id']}", headers=HTML
    ).text.replace("&#39;", "'")


def test_an_owner_asks_and_sees_for_own_models_alone(guarded):
    client = guarded(owner_unfinished_jobs="2")
    ann, bob = token("ann"), token("bob")
    post(client, ann)
    path = f"/dashboard/models/{SHA256}/advice"
    stranger = client.post(path, headers=cookie(bob) | OWN, follow_redirects=False)
    assert stranger.status_code == 404
    refused = client.post("/advice", files=STORED, headers=bearing(bob))
    assert refused.json()["code"] == "model_not_found"
    assert (
        client.post(path, headers=cookie(ann) | OWN, follow_redirects=False).status_code
        == 303
    )
    full = client.post(path, headers=cookie(ann) | OWN, follow_redirects=False)
    assert full.status_code == 429


def test_a_model_that_nobody_has_posted_has_no_page(client):
    assert client.get(f"/dashboard/models/{SHA256}", headers=HTML).status_code == 404
