"""A multipart form read as it arrives: text fields kept, the bytes of its files passed on, nothing else let in."""

from collections.abc import Callable, Mapping

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from app.errors import Problem

_LONGEST_TEXT = 4096

TextCheck = Callable[[str], object]
"""Raises what is wrong with a text field's value, as soon as that is known."""
Sink = Callable[[memoryview], object]
"""Takes the bytes of a file, piece by piece."""


class Form:
    """Feed it the body; it gives each file's bytes to its sink, and checks every text field when it ends.

    A field that may be both is a file where its part has a file name. A file without name and bytes is what browsers
    send where none was chosen, and counts as not given.

    Raises, from `feed` and `finish`:
        Problem: `media_type_unsupported`, `multipart_invalid`, `field_unknown`, `field_repeated`, `field_invalid`.
    """

    def __init__(
        self, content_type: str, files: Mapping[str, Sink], texts: Mapping[str, TextCheck]
    ) -> None:
        self.values: dict[str, str] = {}
        self.filenames: dict[str, str] = {}
        self._files, self._texts = files, texts
        self._sink: Sink | None = None
        self._seen: set[str] = set()
        self._complete = False
        self._part = ""
        self._text = bytearray()
        self._bare = False
        self._header = (bytearray(), bytearray())
        self._disposition = b""
        try:
            self._parser = MultipartParser(_boundary(content_type))
        except FormParserError as error:
            raise _malformed(str(error)) from error
        for name, callback in {
            "part_begin": self._begin,
            "header_begin": self._begin_header,
            "header_field": lambda data, start, end: self._header[0].extend(data[start:end]),
            "header_value": lambda data, start, end: self._header[1].extend(data[start:end]),
            "header_end": self._end_header,
            "headers_finished": self._open,
            "part_data": self._data,
            "part_end": self._close,
            "end": self._end,
        }.items():
            self._parser.set_callback(name, callback)  # type: ignore[arg-type]  # its names are a Literal

    def feed(self, data: bytes) -> None:
        """Take the next piece of the body."""
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise _malformed(str(error)) from error

    def finish(self) -> None:
        """Take note that the body has ended."""
        if not self._complete:
            raise _malformed("the body ends before its closing boundary")

    def has(self, name: str) -> bool:
        """Tell whether a field has come."""
        return name in self._seen

    def _begin(self) -> None:
        self._part = ""
        self._disposition = b""
        self._text.clear()

    def _begin_header(self) -> None:
        for half in self._header:
            half.clear()

    def _end_header(self) -> None:
        name, value = self._header
        if name.lower() == b"content-disposition":
            self._disposition = bytes(value)

    def _open(self) -> None:
        kind, options = parse_options_header(self._disposition)
        self._part = _decode(options.get(b"name", b""), "the name of a field")
        if kind != b"form-data" or not self._part:
            raise _malformed("a part without `Content-Disposition: form-data; name=...`")
        known = list(dict.fromkeys([*self._files, *self._texts]))
        if self._part not in known:
            raise Problem(
                "field_unknown",
                f"there is no field {self._part[:80]!r}",
                field=self._part[:80],
                expected=", ".join(known),
                got=self._part[:80],
            )
        if self._part in self._seen:
            raise Problem(
                "field_repeated",
                f"{self._part} is given twice",
                field=self._part,
                expected="one",
                got="another one",
            )
        self._seen.add(self._part)
        named = b"filename" in options
        self._sink = self._files.get(self._part) if named or self._part not in self._texts else None
        if self._sink:
            self.filenames[self._part] = _decode(
                options.get(b"filename", b""), "the name of the file"
            )
            self._bare = not self.filenames[self._part]

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._sink:
            self._sink(memoryview(data)[start:end])
            self._bare = False
            return
        self._text += data[start:end]
        if len(self._text) > _LONGEST_TEXT:
            raise _no_text(self._part, f"more than {_LONGEST_TEXT} bytes")

    def _close(self) -> None:
        if self._sink:
            if self._bare:
                self._seen.discard(self._part)
            return
        try:
            value = self._text.decode().strip()
        except UnicodeDecodeError as error:
            raise _no_text(self._part, "bytes that are not UTF-8") from error
        if "\0" in value:
            raise _no_text(self._part, "a NUL character")
        self._texts[self._part](value)
        self.values[self._part] = value

    def _end(self) -> None:
        self._complete = True


def _boundary(content_type: str) -> bytes:
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data":
        raise Problem(
            "media_type_unsupported",
            "a job is posted as a multipart form",
            expected="Content-Type: multipart/form-data; boundary=...",
            got=content_type[:100] or "no Content-Type",
        )
    boundary = options.get(b"boundary", b"")
    if not boundary:
        raise _malformed("the Content-Type names no boundary")
    return boundary


def _decode(name: bytes, what: str) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError as error:
        raise _malformed(f"{what} is not UTF-8") from error


def _malformed(detail: str) -> Problem:
    return Problem("multipart_invalid", f"the multipart body is malformed: {detail}")


def _no_text(field: str, got: str) -> Problem:
    return Problem(
        "field_invalid",
        f"{field} is no short text",
        field=field,
        expected=f"UTF-8 of at most {_LONGEST_TEXT} bytes",
        got=got,
    )
