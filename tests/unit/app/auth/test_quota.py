"""An owner's unfinished jobs and stored bytes are bounded."""

import pytest
from support.service.callers import MULTIPART, ONNX, bearing, post, token


def test_the_body_is_not_read_beyond_the_quota(guarded, unread_body):
    client = guarded(owner_unfinished_jobs="1")
    ann = token("ann")
    assert post(client, ann).status_code == 202
    answer = client.post("/jobs", headers=bearing(ann) | MULTIPART, **unread_body)
    assert answer.status_code == 429
    assert answer.json()["code"] == "quota_exceeded"


@pytest.mark.parametrize(
    "settings", [{"owner_unfinished_jobs": "1"}, {"owner_stored_bytes": "2000"}]
)
def test_what_an_owner_may_have_is_bounded(guarded, settings):
    def post(client, secret):
        model = (
            ONNX + b"\x32\xe8\x07" + bytes(1000)
        )  # with a description of a thousand bytes
        form = {
            "data": {"flops_budget": "0.5"},
            "files": {"model": ("net.onnx", model)},
        }
        return client.post("/jobs", **form, headers=bearing(secret))

    client = guarded(**settings)
    ann = token("ann")
    assert post(client, ann).status_code == 202
    full = post(client, ann)
    assert full.status_code == 429
    assert full.json()["code"] == "quota_exceeded"
    assert int(full.headers["Retry-After"]) > 0
    assert post(client, token("bob")).status_code == 202
