"""Conditional and partial answers: entity tags by content, 304 for what the client has, ranges that make sense."""

import base64
import hashlib
import re
from collections.abc import Mapping
from urllib.parse import quote

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response, StreamingResponse

from app.errors import Problem
from app.storage import LocalStorage, ObjectStorage, Storage

_RANGE = re.compile(r"(\d{1,18})-(\d{1,18})?|-(\d{1,18})")


def tagged(request: Request, content: bytes, headers: Mapping[str, str]) -> Response:
    """Answer with JSON under a tag of its bytes, or with 304 if the client has just that."""
    tag = _tag(content)
    if _has(request, tag):
        return _not_modified(tag, headers)
    return Response(content, 200, {**headers, "ETag": f'"{tag}"'}, "application/json")


def is_known(request: Request, content: bytes) -> bool:
    """Tell whether the client has just that, by the tag it sent."""
    return _has(request, _tag(content))


_SIGNED_SECONDS = 300.0


def stored_file(
    request: Request,
    storage: Storage,
    key: str,
    sha256: str,
    media_type: str,
    filename: str | None,
    *,
    redirect: bool,
) -> Response:
    """Answer with a stored file or a range of it; its tag is its SHA-256, so a resumed download cannot mix two files.

    With `redirect`, a bucket is asked to serve the file itself.

    Raises:
        Problem: `file_gone` if the store has it no longer, `range_not_satisfiable`.
    """
    size = storage.size(key)
    if size is None:
        raise Problem("file_gone", "the store no longer has this file", got=f"SHA-256 {sha256}")
    digest = base64.b64encode(bytes.fromhex(sha256)).decode()
    headers = {"Cache-Control": "private, no-cache", "Repr-Digest": f"sha-256=:{digest}:"}
    headers["Digest"] = f"sha-256={digest}"  # what Repr-Digest was called before RFC 9530
    if _has(request, sha256):
        return _not_modified(sha256, headers)
    _check_range(request, size, sha256)
    headers["ETag"] = f'"{sha256}"'
    if isinstance(storage, LocalStorage):
        return FileResponse(storage.path(key), 200, headers, media_type, filename=filename)
    assert isinstance(storage, ObjectStorage)
    if redirect and request.method != "HEAD":
        return RedirectResponse(storage.sign(key, _SIGNED_SECONDS), 307, headers)
    if filename is not None:
        headers["Content-Disposition"] = f"attachment; filename*=utf-8''{quote(filename, safe='')}"
    headers["Accept-Ranges"] = "bytes"
    return _streamed(request, storage, key, size, headers, media_type)


def _streamed(
    request: Request,
    storage: ObjectStorage,
    key: str,
    size: int,
    headers: dict[str, str],
    media_type: str,
) -> Response:
    """Pass an object on, whole or one range of it; several ranges at once are answered with the whole."""
    part = _range(request, size, headers["ETag"])
    start, end = part or (0, size)
    headers["Content-Length"] = str(end - start)
    if part:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    content = iter(()) if request.method == "HEAD" else storage.read(key, start, end)
    return StreamingResponse(content, 206 if part else 200, headers, media_type)


def _range(request: Request, size: int, tag: str) -> tuple[int, int] | None:
    """Return where the one range begins and ends that is asked for and applies, or None for the whole file."""
    header = Headers(scope=request.scope).get("range", "")  # as `_check_range` has left it
    found = _RANGE.fullmatch(header.partition("=")[2].strip())
    if found is None or request.headers.get("if-range", tag) != tag:
        return None
    first, last, length = found.groups()
    if length:
        return max(0, size - int(length)), size
    return int(first), min(int(last) + 1, size) if last else size


def _tag(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]


def _has(request: Request, tag: str) -> bool:
    """Whether If-None-Match names this tag; compared weakly, as RFC 9110 wants it."""
    given = [
        entry.strip().removeprefix("W/")
        for entry in request.headers.get("if-none-match", "").split(",")
    ]
    return f'"{tag}"' in given or "*" in given


def _not_modified(tag: str, headers: Mapping[str, str]) -> Response:
    return Response(status_code=304, headers={**headers, "ETag": f'"{tag}"'})


def _check_range(request: Request, size: int, tag: str) -> None:
    """Leave to the file response only ranges that it will serve.

    A range that is malformed or in another unit is ignored, as RFC 9110 allows and demands; one beyond the file is
    refused, unless it was meant for another file (If-Range).
    """
    header = request.headers.get("range", "")
    unit, _, specs = header.partition("=")
    ranges = [_RANGE.fullmatch(spec.strip()) for spec in specs.split(",")]
    if unit.lower() != "bytes" or not all(ranges):
        request.scope["headers"] = [
            (name, value) for name, value in request.scope["headers"] if name != b"range"
        ]
        return
    if request.headers.get("if-range", f'"{tag}"') != f'"{tag}"':
        return
    for first, last, length in (found.groups() for found in ranges if found):
        empty = (
            int(length) == 0 if length else int(first) >= size or (last and int(last) < int(first))
        )
        if empty:
            raise _beyond(header, size)


def _beyond(header: str, size: int) -> Problem:
    return Problem(
        "range_not_satisfiable",
        "the range is not part of the file",
        field="Range",
        expected=f"bytes=FIRST-LAST within 0 and {size - 1}",
        got=header[:80],
        headers={"Content-Range": f"bytes */{size}"},
    )
