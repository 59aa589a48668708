"""A form is read the same in whatever pieces it arrives, and refuses unknown fields and texts."""

import itertools

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from app.errors import Problem
from app.uploads.multipart import Form
from convpress.refusal import Refusal

TYPE = "multipart/form-data; boundary=limit"


def part(name, content, filename=None):
    extra = b'; filename="%s"' % filename.encode() if filename is not None else b""
    return b'--limit\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n' % (
        name.encode(),
        extra,
        content,
    )


END = b"--limit--\r\n"


def read(pieces, checks=None):
    content = bytearray()
    form = Form(
        TYPE, {"model": content.extend}, checks or {"budget": str, "shape": str}
    )
    for piece in pieces:
        form.feed(piece)
    form.finish()
    return bytes(content), form.values, form.filenames.get("model")


def cut(body, places):
    edges = [0, *sorted(place % (len(body) + 1) for place in places), len(body)]
    return [body[start:end] for start, end in itertools.pairwise(edges)]


# What a boundary looks like until its last byte is the hardest content.
contents = st.lists(
    st.sampled_from(
        [b"\r", b"\n", b"-", b"\r\n--", b"\r\n--limi", b"limit", b"x" * 300, b"\0"]
    )
    | st.binary(max_size=9)
).map(b"".join)


@given(
    contents,
    st.lists(st.integers(0, 5000), max_size=8),
    st.sampled_from([b"", b"the epilogue\r\n--limit\r\n"]),
)
def test_content_arrives_whole_however_the_body_is_cut(content, places, epilogue):
    assume(b"\r\n--limit" not in content)  # a sender takes another boundary then
    body = (
        part("budget", b" 0.5\n")
        + part("model", content, "net.onnx")
        + part("shape", b"1x3")
        + END
        + epilogue
    )
    assert read(cut(body, places)) == (
        content,
        {"budget": "0.5", "shape": "1x3"},
        "net.onnx",
    )


def code_of(call):
    """The code of what a call refuses, or None."""
    try:
        call()
    except Problem as problem:
        return problem.members["code"]
    return None


@given(
    st.lists(
        st.binary(max_size=60)
        | st.sampled_from([part("model", b"x"), part("budget", b"1"), END, b"--limit"])
    )
)
def test_whatever_comes_it_is_read_or_refused(pieces):
    refusals = {
        None,
        "multipart_invalid",
        "field_unknown",
        "field_repeated",
        "field_invalid",
    }
    assert code_of(lambda: read(pieces)) in refusals


@given(
    st.binary(max_size=60).map(lambda header: header.decode("latin-1"))
    | st.binary().map(lambda b: f"{TYPE}{b!r}")
)
def test_whatever_the_content_type_it_is_taken_or_refused(text):
    refusals = {None, "multipart_invalid", "media_type_unsupported"}
    assert code_of(lambda: Form(text, {"model": bytes}, {})) in refusals


def test_a_field_is_checked_before_the_next_byte():
    def refuse(text):
        raise ValueError(text)

    with pytest.raises(ValueError, match="bad"):
        read([part("budget", b"bad") + b"--limit\r\n"], {"budget": refuse})


def test_the_checks_are_those_of_the_contract():
    from convpress.budgets import FLOPS

    with pytest.raises(Refusal):
        read([part("budget", b"abc") + END], {"budget": FLOPS.parse})


@pytest.mark.parametrize(
    ("filename", "shown"),
    [
        ("né t.onnx", "né t.onnx"),
        ('a\\"b.pt', 'a"b.pt'),
        ("a;b=c.pt", "a;b=c.pt"),
        ("", ""),
    ],
)
def test_file_names_of_every_kind(filename, shown):
    assert read([part("model", b"x", filename) + END])[2] == shown


def test_a_field_that_may_be_both_is_a_file_where_it_has_a_name():
    model = bytearray()
    images = bytearray()
    values = None
    for second in (part("images", b"none"), part("images", b"pixels", "images.npy")):
        form = Form(
            TYPE, {"model": model.extend, "images": images.extend}, {"images": str}
        )
        form.feed(part("model", b"net", "net.onnx") + second + END)
        form.finish()
        values = values or form.values
    assert values == {"images": "none"}
    assert bytes(model) == b"netnet"
    assert bytes(images) == b"pixels"
    assert form.filenames == {"model": "net.onnx", "images": "images.npy"}
    assert form.values == {}


def test_a_file_that_was_not_chosen_is_not_given():
    form = Form(TYPE, {"model": bytes}, {})
    form.feed(part("model", b"", "") + END)
    form.finish()
    assert not form.has("model")


def test_files_that_were_not_chosen_may_not_come_without_end():
    form = Form(TYPE, {"model": bytes}, {})
    form.feed(part("model", b"", "") * 100)
    with pytest.raises(Problem, match="more than 100 parts"):
        form.feed(part("model", b"", "") + END)


def test_text_is_limited_while_it_arrives():
    form = Form(TYPE, {"model": bytes}, {"budget": str})
    form.feed(part("budget", b"x" * 4000).removesuffix(b"\r\n"))
    with pytest.raises(Problem, match="budget"):
        form.feed(b"x" * 200)
