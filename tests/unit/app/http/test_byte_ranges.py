"""Ranges are parsed as RFC 9110 says, and never lead outside the file."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import Problem
from app.http.byte_ranges import parse_ranges


@pytest.mark.parametrize(
    ("header", "ranges"),
    [
        ("bytes=0-4", [(0, 5)]),
        ("bytes=2-", [(2, 10)]),
        ("bytes=-3", [(7, 10)]),
        ("bytes=-30", [(0, 10)]),
        ("bytes=8-30", [(8, 10)]),
        ("bytes=6-7, 0-1", [(0, 2), (6, 8)]),
        ("bytes=0-3,2-5,6-6", [(0, 7)]),
        ("bytes=", []),
        ("bytes=-", []),
        ("bytes=1-2,", []),
        ("bytes", []),
        ("lines=1-2", []),
        ("", []),
    ],
)
def test_ranges(header, ranges):
    assert parse_ranges(header, 10) == ranges


@pytest.mark.parametrize(
    "header", ["bytes=10-", "bytes=-0", "bytes=3-2", "bytes=0-1,10-11"]
)
def test_ranges_outside_the_file(header):
    with pytest.raises(Problem) as refused:
        parse_ranges(header, 10)
    assert refused.value.members["code"] == "range_not_satisfiable"
    assert refused.value.headers == {"Content-Range": "bytes */10"}


@pytest.mark.parametrize("header", ["bytes=0-", "bytes=-1"])
def test_an_empty_file_has_no_ranges(header):
    with pytest.raises(Problem):
        parse_ranges(header, 0)


@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), min_size=1, max_size=9)
)
def test_merged_ranges_hold_the_same_bytes(pairs):
    pairs = [tuple(sorted(pair)) for pair in pairs]
    header = "bytes=" + ",".join(f"{first}-{last}" for first, last in pairs)
    ranges = parse_ranges(header, 61)
    asked_for = {byte for first, last in pairs for byte in range(first, last + 1)}
    assert [byte for start, end in ranges for byte in range(start, end)] == sorted(
        asked_for
    )
