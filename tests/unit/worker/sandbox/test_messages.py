"""Of what a child may say, three messages are understood, and nothing else gets through."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.sandbox.messages import Failed, MalformedOutput, Progress, Succeeded, parse

MALFORMED = [
    b"",
    b"hello",
    b"\xff\xfe",
    b"[" * 30_000,
    b"1" * 30_000,
    b"null",
    b"[]",
    b"{}",
    b'{"event": "done"}',
    b'{"event": "progress"}',
    b'{"event": "progress", "phase": "dancing", "fraction": 0.5}',
    b'{"event": "progress", "phase": "loading", "fraction": 1.5}',
    b'{"event": "progress", "phase": "loading", "fraction": -0.1}',
    b'{"event": "progress", "phase": "loading", "fraction": NaN}',
    b'{"event": "progress", "phase": "loading", "fraction": "half"}',
    b'{"event": "progress", "phase": [], "fraction": 0.5}',
    b'{"event": "failed"}',
    b'{"event": "failed", "error": "no"}',
    b'{"event": "failed", "error": {"code": "model_invalid"}}',
    b'{"event": "failed", "error": {"detail": "no code"}}',
    b'{"event": "failed", "error": {"code": "made_up", "detail": "x"}}',
    b'{"event": "failed", "error": {"code": "model_invalid", "detail": 3}}',
    b'{"event": "failed", "error": {"code": "model_invalid", "detail": "x", "more": "y"}}',
    json.dumps(
        {"event": "failed", "error": {"code": "model_invalid", "detail": "x" * 5000}}
    ).encode(),
]


@pytest.mark.parametrize("line", MALFORMED, ids=[str(line[:60]) for line in MALFORMED])
def test_malformed_lines_are_refused(line):
    with pytest.raises(MalformedOutput):
        parse(line)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_refused(line):
    with contextlib.suppress(MalformedOutput):
        parse(line)


scalars = st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5)
json_values = (
    scalars
    | st.lists(scalars, max_size=2)
    | st.dictionaries(st.text(max_size=5), scalars, max_size=2)
)


@given(
    st.fixed_dictionaries(
        {"event": st.sampled_from(["progress", "failed", "succeeded"])},
        optional={
            "phase": st.just("loading") | json_values,
            "fraction": st.floats(-1, 2) | json_values,
            "error": json_values,
        },
    )
)
def test_any_values_are_a_message_or_refused(message):
    try:
        parsed = parse(json.dumps(message).encode())
    except MalformedOutput:
        return
    assert isinstance(parsed, (Progress, Failed, Succeeded))
    if isinstance(parsed, Progress):
        assert 0 <= parsed.fraction <= 1
