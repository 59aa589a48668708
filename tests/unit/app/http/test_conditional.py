"""A client that has the content is told so, and gets nothing else."""

import pytest
from starlette.requests import Request

from app.http.conditional import conditional_json, is_known


def request(header):
    headers = [(b"if-none-match", header.encode())]
    return Request({"type": "http", "method": "GET", "path": "/", "headers": headers})


def test_the_tag_is_that_of_the_bytes():
    first = conditional_json(request(""), b"{}", {})
    other = conditional_json(request(""), b"[]", {})
    assert first.body == b"{}"
    assert first.headers["etag"] != other.headers["etag"]


@pytest.mark.parametrize("form", ["{}", "W/{}", '"x", {}', "*"])
def test_a_client_that_has_the_content(form):
    tag = conditional_json(request(""), b"{}", {}).headers["etag"]
    asking = request(form.format(tag))
    answer = conditional_json(asking, b"{}", {"Retry-After": "1"})
    assert answer.status_code == 304
    assert answer.body == b""
    assert answer.headers["etag"] == tag
    assert answer.headers["retry-after"] == "1"
    assert is_known(asking, b"{}")


@pytest.mark.parametrize("header", ["", '"x"', "x", 'W/"x"'])
def test_a_client_that_has_something_else(header):
    assert not is_known(request(header), b"{}")
