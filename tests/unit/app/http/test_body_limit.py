"""Bodies other than uploads are short: a long one is refused before it is parsed or held."""

import anyio
import pytest
from starlette.requests import ClientDisconnect

from app.http.body_limit import LARGEST_BYTES, BodyLimit

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
CALLS = ["/dashboard/sign-in", "/dashboard/jobs/1/again", "/jobs/1/cancel", "/nowhere"]


@pytest.mark.parametrize("path", CALLS)
def test_a_long_body_is_refused(client, path):
    content = b"&".join(b"key=" + b"x" * 1000 for _ in range(100))
    answer = client.post(path, content=content, headers=FORM)
    assert answer.status_code == 413
    assert answer.json()["code"] == "body_too_large"
    assert answer.json()["got"] == f"{len(content)} bytes announced"


def test_a_form_within_the_limit_arrives(client):
    content = "flops_budget=0.5&input_shape=" + "1" * (LARGEST_BYTES - 100)
    answer = client.post("/dashboard/jobs/1/again", content=content, headers=FORM)
    assert answer.json()["code"] == "input_shape_invalid"


class Counting:
    """An application and its client, of which each message holds `chunk`."""

    def __init__(self, chunks):
        self.chunks = list(chunks)
        self.received = None
        self.sent = []

    async def __call__(self, scope, receive, send):
        self.received = await receive()

    async def receive(self):
        if not self.chunks:
            return {"type": "http.disconnect"}
        body = self.chunks.pop(0)
        return {"type": "http.request", "body": body, "more_body": bool(self.chunks)}

    async def send(self, message):
        self.sent.append(message)


def serve(service, method="POST", path="/dashboard/sign-in", headers=()):
    class App:
        class state:  # noqa: N801 - Starlette's name
            problem_page = None

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "headers": headers,
        "app": App,
        "query_string": b"",
        "server": ("x", 80),
    }
    anyio.run(BodyLimit(service), scope, service.receive, service.send)


def test_a_body_of_no_announced_length_is_counted_as_it_arrives():
    service = Counting([b"x" * 1000] * 500)
    serve(service)
    assert service.received is None
    assert service.sent[0]["status"] == 413
    # No more is read than refutes the limit.
    assert len(service.chunks) > 400


def test_a_short_body_arrives_whole():
    service = Counting([b"a=", b"b"])
    serve(service)
    assert service.received == {
        "type": "http.request",
        "body": b"a=b",
        "more_body": False,
    }


def test_an_upload_is_passed_on_as_it_arrives():
    service = Counting([b"x" * 1000] * 500)
    serve(service, path="/jobs")
    assert len(service.received["body"]) == 1000


def test_a_client_that_goes_away_ends_its_request():
    service = Counting([])
    with pytest.raises(ClientDisconnect):
        serve(service)
