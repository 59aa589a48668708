"""Requests that two servers could read in two ways, or with headers that never end: raw sockets."""

import re
import socket
import time

import pytest

PATH = "/healthz"
SMUGGLED = f"GET {PATH}?smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"
CHUNKED = f"Content-Length: {len(SMUGGLED) + 5}\r\nTransfer-Encoding: chunked\r\n"
AMBIGUOUS = {
    "length first": CHUNKED,
    "encoding first": "\r\n".join(reversed(CHUNKED.split("\r\n")[:2])) + "\r\n",
    "length of nothing": "Content-Length: 0\r\ntransfer-encoding: Chunked\r\n",
}


def talk(api, pieces, pause=0.0):
    """Send pieces of a request, a pause after each; return all answers until it hangs up."""
    address = api.http.base_url.host, api.http.base_url.port
    answer = b""
    with socket.create_connection(address, timeout=60) as connection:
        try:
            for piece in pieces:
                connection.sendall(piece)
                time.sleep(pause)
            while received := connection.recv(65536):
                answer += received
        except ConnectionError:
            pass  # hung up on while there was more to send
    return answer


def statuses(answer):
    return [int(status) for status in re.findall(rb"HTTP/1.1 (\d{3}) ", answer)]


def head(*lines):
    return "".join(
        f"{line}\r\n" for line in (f"GET {PATH} HTTP/1.1", "Host: localhost", *lines)
    )


@pytest.mark.parametrize("lines", AMBIGUOUS.values(), ids=AMBIGUOUS)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_request_of_two_lengths_is_refused_and_nothing_after_it_is_read(
    api, method, lines
):
    request = (
        f"{method} {PATH} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n0\r\n\r\n{SMUGGLED}"
    )
    answer = talk(api, [request.encode()])
    assert statuses(answer) == [400]
    assert b"connection: close" in answer.lower()
    assert b"length_ambiguous" in answer
    assert "?smuggled" not in api.log.read_text()


def test_one_length_is_enough(api):
    plain = f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
    chunked = (
        f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\n"
        "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    )
    last = head("Connection: close") + "\r\n"
    assert statuses(talk(api, [(plain + chunked + last).encode()])) == [405, 405, 200]


def long_headers(size):
    return "".join(f"X-{number}: {'x' * 1000}\r\n" for number in range(size // 1000))


def test_headers_without_end_are_hung_up_on(api):
    pieces = [head().encode(), *([b"X: " + b"x" * 997 + b"\r\n"] * 2000)]
    assert set(statuses(talk(api, pieces))) <= {400}


def test_one_header_without_end_is_hung_up_on(api):
    assert set(
        statuses(talk(api, [head("").encode()[:-2] + b"X: ", *([b"x" * 1000] * 2000)]))
    ) <= {400}


@pytest.mark.parametrize("size", [80_000, 150_000, 250_000])
def test_long_headers_that_come_in_one_piece_are_refused_as_well(api, size):
    request = (head() + long_headers(size) + "\r\n").encode()
    answer = talk(api, [request])
    # 431 where the service read them at once, 400 where it saw the first part alone; none where
    # the connection was reset while the rest was under way.
    assert statuses(answer) in ([431], [400], [])
    assert b'"ok"' not in answer


def test_a_long_address_counts(api):
    request = f"GET {PATH}?{'x' * 70_000} HTTP/1.1\r\nHost: localhost\r\n\r\n"
    assert statuses(talk(api, [request.encode()])) in ([431], [400], [])


def test_headers_up_to_the_limit_are_served(api):
    request = (head("Connection: close") + long_headers(60_000) + "\r\n").encode()
    assert statuses(talk(api, [request])) == [200]


def test_headers_up_to_the_limit_may_come_in_pieces(api):
    request = (head("Connection: close") + long_headers(60_000) + "\r\n").encode()
    pieces = [
        request[start : start + 10_000] for start in range(0, len(request), 10_000)
    ]
    assert statuses(talk(api, pieces, pause=0.02)) == [200]
