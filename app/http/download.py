"""Downloads of stored files: whole, in ranges, or not at all if the client has the file.

The entity tag is the file's SHA-256, so a resumed download cannot mix two files.
"""

import base64
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from email.utils import format_datetime
from typing import NamedTuple
from urllib.parse import quote

import structlog
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse

from app.errors import Problem
from app.http.byte_ranges import ByteRange, parse_ranges
from app.http.checked import Damaged, passed_on, require_whole
from app.http.conditional import has_tag, not_modified
from app.storage import FileInfo, ObjectStorage, Storage

# Long enough for a client to follow the redirect; the download itself may take longer.
_SIGNED_SECONDS = 300.0

log = structlog.get_logger(__name__)


class Download(NamedTuple):
    """A stored file as clients see it; browsers save it under its `filename`, if it has one.

    `is_suspect` says that it was damaged when it was sent the last time. `on_check` is called with
    whether it is damaged, as soon as that is known.
    """

    key: str
    sha256: str
    media_type: str
    filename: str | None
    is_suspect: bool = False
    on_check: Callable[[bool], None] = lambda _: None


def send_file(
    request: Request, storage: Storage, file: Download, *, redirect: bool
) -> Response:
    """Answer with a stored file, or with the ranges of it that the client asks for.

    With `redirect`, a client is sent to the bucket, which serves the file itself.

    Raises:
        Problem: `file_gone` if the store no longer has the file, `file_damaged` if its bytes have
            changed, `range_not_satisfiable`.
    """
    info = storage.info(file.key)
    if info is None:
        raise _gone(file)
    digests = _digest_headers(file)
    if has_tag(request, file.sha256):
        return not_modified(file.sha256, digests)
    headers = digests | _file_headers(file, info)
    ranges = _ranges(request, info.size, headers)
    if redirect and isinstance(storage, ObjectStorage) and request.method != "HEAD":
        address = storage.sign(file.key, _SIGNED_SECONDS)
        return RedirectResponse(address, 307, {**digests, "ETag": headers["ETag"]})
    # The file may be deleted after the look at its size.
    try:
        if request.method != "HEAD" and (ranges or file.is_suspect):
            require_whole(storage, file.key, file.sha256, info, again=file.is_suspect)
            file.on_check(False)
        return _stream(request, storage, file, info.size, ranges, headers)
    except FileNotFoundError as error:
        raise _gone(file) from error
    except Damaged as error:
        raise _damaged(file) from error


def _digest_headers(file: Download) -> dict[str, str]:
    digest = base64.b64encode(bytes.fromhex(file.sha256)).decode()
    return {
        "Cache-Control": "private, no-cache",
        "Repr-Digest": f"sha-256=:{digest}:",
        # The name of Repr-Digest before RFC 9530.
        "Digest": f"sha-256={digest}",
    }


def _file_headers(file: Download, info: FileInfo) -> dict[str, str]:
    headers = {
        "ETag": f'"{file.sha256}"',
        "Last-Modified": format_datetime(info.modified_at, usegmt=True),
        "Accept-Ranges": "bytes",
    }
    if file.filename is not None:
        headers["Content-Disposition"] = _attachment(file.filename)
    return headers


def _attachment(filename: str) -> str:
    """Return a Content-Disposition; a name that a quoted string cannot hold is encoded (RFC 6266).

    >>> _attachment("net.onnx"), _attachment('a"b.pt')
    ('attachment; filename="net.onnx"', "attachment; filename*=utf-8''a%22b.pt")
    """
    encoded = quote(filename, safe="")
    if encoded == filename:
        return f'attachment; filename="{filename}"'
    return f"attachment; filename*=utf-8''{encoded}"


def _ranges(
    request: Request, size: int, headers: Mapping[str, str]
) -> Sequence[ByteRange]:
    """Return the ranges that the client asks for; none if they were meant for another file."""
    validators = (headers["ETag"], headers["Last-Modified"])
    if request.headers.get("if-range", headers["ETag"]) not in validators:
        return ()
    return parse_ranges(request.headers.get("range", ""), size)


def _stream(
    request: Request,
    storage: Storage,
    file: Download,
    size: int,
    ranges: Sequence[ByteRange],
    headers: Mapping[str, str],
) -> Response:
    """Answer with the whole file (200), one range or several as multipart/byteranges (206)."""
    if len(ranges) > 1:
        return _stream_parts(request, storage, file, size, ranges, headers)
    status = 200
    start, end = 0, size
    lengths = {"Content-Length": str(size)}
    if ranges:
        status = 206
        start, end = ranges[0]
        lengths = {
            "Content-Length": str(end - start),
            "Content-Range": _content_range(start, end, size),
        }
    content: Iterable[bytes] = ()
    if request.method != "HEAD":
        content = storage.read(file.key, start, end)
        if not ranges:
            content = _checked(content, file)
    return StreamingResponse(content, status, {**headers, **lengths}, file.media_type)


def _checked(pieces: Iterator[bytes], file: Download) -> Iterator[bytes]:
    """Check a whole file while it is sent; a file of one piece is checked before.

    An exception in the middle ends the connection without the last piece: a client sees that the
    file is incomplete.
    """
    checked = passed_on(pieces, file.sha256)
    first = next(checked)

    def rest() -> Iterator[bytes]:
        yield first
        try:
            yield from checked
        except Damaged:
            _damaged(file)
            raise
        file.on_check(False)

    return rest()


def _damaged(file: Download) -> Problem:
    """Report a damaged file, and return its problem."""
    log.error("a stored file is damaged", key=file.key, sha256=file.sha256)
    file.on_check(True)
    return Problem(
        "file_damaged",
        "the stored file has changed since the job made it; post the job again, "
        "or restore the file from a backup",
        got=f"SHA-256 other than {file.sha256}",
    )


def _stream_parts(
    request: Request,
    storage: Storage,
    file: Download,
    size: int,
    ranges: Sequence[ByteRange],
    headers: Mapping[str, str],
) -> Response:
    # 104 random bits, so that no file contains the boundary.
    boundary = secrets.token_hex(13)
    heads = [_part_head(boundary, file.media_type, each, size) for each in ranges]
    closing = f"--{boundary}--".encode()

    def parts() -> Iterator[bytes]:
        for head, (start, end) in zip(heads, ranges, strict=True):
            yield head
            yield from storage.read(file.key, start, end)
            yield b"\r\n"
        yield closing

    framing = sum(len(head) + len(b"\r\n") for head in heads) + len(closing)
    length = framing + sum(end - start for start, end in ranges)
    content: Iterable[bytes] = ()
    if request.method != "HEAD":
        content = parts()
    return StreamingResponse(
        content,
        206,
        {**headers, "Content-Length": str(length)},
        f"multipart/byteranges; boundary={boundary}",
    )


def _part_head(boundary: str, media_type: str, part: ByteRange, size: int) -> bytes:
    lines = (
        f"--{boundary}",
        f"Content-Type: {media_type}",
        f"Content-Range: {_content_range(part.start, part.end, size)}",
        "",
        "",
    )
    return "\r\n".join(lines).encode()


def _content_range(start: int, end: int, size: int) -> str:
    return f"bytes {start}-{end - 1}/{size}"


def _gone(file: Download) -> Problem:
    return Problem(
        "file_gone", "the store no longer has this file", got=f"SHA-256 {file.sha256}"
    )
