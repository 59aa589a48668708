"""Entity tags by content: 304 for what the client has, 412 where it expects another content.

Source: RFC 9110, section 13.
"""

import hashlib
from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response

# 128 bits: no two versions of a document share a tag by chance.
_TAG_DIGITS = 32


def conditional_json(
    request: Request, content: bytes, headers: Mapping[str, str]
) -> Response:
    """Respond with JSON and its entity tag, or with 304 if the client has this content."""
    tag = _tag(content)
    if has_tag(request, tag):
        return not_modified(tag, headers)
    tagged_headers = {**headers, "ETag": f'"{tag}"'}
    return Response(content, 200, tagged_headers, "application/json")


def is_known(request: Request, content: bytes) -> bool:
    """Tell whether the client has this content, by the tag in its If-None-Match."""
    return has_tag(request, _tag(content))


def has_tag(request: Request, tag: str) -> bool:
    """Tell whether If-None-Match names a tag, or any by `*`."""
    header = request.headers.get("if-none-match", "")
    # Weak and strong tags compare equal here (RFC 9110, section 13.1.2).
    tags = [entry.strip().removeprefix("W/") for entry in header.split(",")]
    return f'"{tag}"' in tags or "*" in tags


def is_expected(request: Request, content: bytes) -> bool:
    """Tell whether content is what If-Match expects: any without the header, or with `*`."""
    header = request.headers.get("if-match")
    if header is None:
        return True
    tags = [entry.strip() for entry in header.split(",")]
    # Weak tags never match here (RFC 9110, section 13.1.1).
    return f'"{_tag(content)}"' in tags or "*" in tags


def not_modified(tag: str, headers: Mapping[str, str]) -> Response:
    """Answer that the client has the content of a tag."""
    return Response(status_code=304, headers={**headers, "ETag": f'"{tag}"'})


def _tag(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:_TAG_DIGITS]
