"""The system page: the figures of the caller, and of the service for an administrator."""

from support.service.callers import HTML, cookie, token
from support.service.job_history import add

from app.db.session import transaction

PATH = "/dashboard/system"


def test_an_owner_sees_no_workers(guarded):
    client = guarded()
    with transaction() as session:
        add(session, "failed", owner="ann", code="model_gone")
        add(session, "failed", owner="bob", code="storage_full")
    own = client.get(PATH, headers=cookie(token("ann"))).text
    assert "model_gone" in own
    assert "storage_full" not in own
    assert "Workers" not in own
    everything = client.get(PATH, headers=cookie(token("root", "admin"))).text
    assert "storage_full" in everything
    assert "Workers" in everything


def test_a_fragment_has_no_frame_and_an_unknown_span_is_refused(client):
    page = client.get(PATH, headers=HTML).text
    fragment = client.get(PATH, headers={**HTML, "HX-Request": "true"}).text
    assert "<html" in page
    assert "<html" not in fragment
    assert client.get(f"{PATH}?by=year", headers=HTML).status_code == 422
