"""A mapped file is read without a copy, and without keeping in memory what was read."""

from pathlib import Path

from convpress.gate import mapped, protobuf

PIECE = 64 * 1024


def mapped_bytes():
    """The bytes of files that this process has in its memory."""
    status = Path("/proc/self/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("RssFile:")]
    return int(line.split()[1]) * 1024


def test_a_walk_over_a_large_message_keeps_few_pages(tmp_path):
    path = tmp_path / "large"
    path.write_bytes((b"\x12" + protobuf.write_varint(PIECE) + bytes(PIECE)) * 512)
    most = 0
    with mapped.mapped(path) as content:
        before = mapped_bytes()
        for number, field in enumerate(mapped.fields(content, 0, len(content))):
            assert (field.number, field.end - field.value) == (2, PIECE)
            if number % 32 == 0:
                most = max(most, mapped_bytes() - before)
        assert content[:2] == b"\x12" + protobuf.write_varint(PIECE)[:1]
    assert most < 20 * 1024**2


def test_bytes_in_memory_are_left_alone():
    message = b"\x12\x01a"
    mapped.forget(memoryview(message))
    assert list(mapped.fields(message, 0, 3)) == list(protobuf.fields(message, 0, 3))
