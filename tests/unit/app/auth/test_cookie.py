"""The key is found among the cookies of others, and no cookie is parsed further."""

import time

import pytest
from starlette.datastructures import Headers

from app.auth.cookie import COOKIE, read_key


@pytest.mark.parametrize(
    ("cookies", "key"),
    [
        (f"{COOKIE}=cp_1_a", "cp_1_a"),
        (f"a=b; {COOKIE}=cp_1_a; c=d", "cp_1_a"),
        (f"a=b;{COOKIE}=cp_1_a", "cp_1_a"),
        (f'a="\\"; {COOKIE}=cp_1_a', "cp_1_a"),
        (f"x{COOKIE}=cp_1_a", None),
        ("a=b", None),
        ("", None),
    ],
)
def test_the_key_is_found(cookies, key):
    assert read_key(Headers({"cookie": cookies})) == key


@pytest.mark.parametrize("path", ["/healthz", "/dashboard/sign-in", "/jobs"])
@pytest.mark.parametrize("name", ["other", COOKIE])
def test_a_cookie_of_countless_quotes_costs_nothing(client, path, name):
    quotes = '\\"' * 30_000
    started = time.process_time()
    answer = client.get(path, headers={"Cookie": f'{name}="{quotes}"'})
    assert answer.status_code < 500
    # The standard library's parser takes 7 s in Python 3.11.7.
    assert time.process_time() - started < 2
