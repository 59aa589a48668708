"""The parser of a multipart form: it parses text fields and passes the bytes of files on."""

from collections.abc import Callable, Mapping
from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from app.errors import Problem
from convpress.text.spelling import did_you_mean

# Text fields are held in memory, so that their length is limited while they arrive.
_LONGEST_TEXT = 4096
# Far more than the form has fields. A file that counts as left out may come again, at no end.
_MOST_PARTS = 100

FieldParser = Callable[[str], Any]
"""Reads the text of a field and returns its value, or raises the error of an invalid one."""
Sink = Callable[[memoryview], object]
"""Takes the bytes of a file, piece by piece."""


class Form:
    """A form that is fed its body in pieces.

    It gives each file's bytes to its sink, and parses each text field when the field ends.
    A field in both `files` and `texts` is a file where its part has a file name. A file without
    name and bytes counts as left out: browsers send one where the user chose none.

    Raises, from `feed` and `finish`:
        Problem: `media_type_unsupported`, `multipart_invalid`, `field_unknown`, `field_repeated`,
            `field_invalid`.
    """

    def __init__(
        self,
        content_type: str,
        files: Mapping[str, Sink],
        texts: Mapping[str, FieldParser],
    ) -> None:
        self.values: dict[str, Any] = {}
        self.filenames: dict[str, str] = {}
        self._files = files
        self._texts = texts
        self._seen: set[str] = set()
        self._complete = False
        self._parts = 0
        # The part that is being read.
        self._name = ""
        self._sink: Sink | None = None
        self._text = bytearray()
        self._is_empty_file = False
        self._header_name = bytearray()
        self._header_value = bytearray()
        self._disposition = b""
        try:
            self._parser = MultipartParser(_boundary(content_type))
        except FormParserError as error:
            raise _malformed(str(error)) from error
        for event, callback in self._callbacks().items():
            self._parser.set_callback(event, callback)  # type: ignore[arg-type]  # its names are a Literal

    def feed(self, data: bytes) -> None:
        """Take the next piece of the body."""
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise _malformed(str(error)) from error

    def finish(self) -> None:
        """Check that the body is complete."""
        if not self._complete:
            raise _malformed("the body ends before its closing boundary")

    def has(self, name: str) -> bool:
        """Tell whether the form has a field."""
        return name in self._seen

    def _callbacks(self) -> dict[str, Callable[..., None]]:
        return {
            "part_begin": self._begin_part,
            "header_begin": self._begin_header,
            "header_field": self._add_header_name,
            "header_value": self._add_header_value,
            "header_end": self._end_header,
            "headers_finished": self._begin_content,
            "part_data": self._add_content,
            "part_end": self._end_part,
            "end": self._end_form,
        }

    def _begin_part(self) -> None:
        self._parts += 1
        if self._parts > _MOST_PARTS:
            raise _malformed(f"it has more than {_MOST_PARTS} parts")
        self._name = ""
        self._disposition = b""
        self._text.clear()

    def _begin_header(self) -> None:
        self._header_name.clear()
        self._header_value.clear()

    def _add_header_name(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _add_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _end_header(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            self._disposition = bytes(self._header_value)

    def _begin_content(self) -> None:
        disposition, options = parse_options_header(self._disposition)
        self._name = _decode(options.get(b"name", b""), "the name of a field")
        if disposition != b"form-data" or not self._name:
            raise _malformed(
                "a part without `Content-Disposition: form-data; name=...`"
            )
        self._check_name()
        self._seen.add(self._name)
        self._sink = None
        if b"filename" in options or self._name not in self._texts:
            self._sink = self._files.get(self._name)
        if self._sink:
            filename = _decode(options.get(b"filename", b""), "the name of the file")
            self.filenames[self._name] = filename
            self._is_empty_file = not filename

    def _check_name(self) -> None:
        known = list(dict.fromkeys([*self._files, *self._texts]))
        if self._name not in known:
            raise Problem(
                "field_unknown",
                f"there is no field {self._name[:80]!r}{did_you_mean(self._name, known)}",
                field=self._name[:80],
                expected=", ".join(known),
                got=self._name[:80],
            )
        if self._name in self._seen:
            raise Problem(
                "field_repeated",
                f"the form has {self._name} twice",
                field=self._name,
                expected="the field once",
                got="the field again",
            )

    def _add_content(self, data: bytes, start: int, end: int) -> None:
        if self._sink:
            self._sink(memoryview(data)[start:end])
            self._is_empty_file = False
            return
        self._text += data[start:end]
        if len(self._text) > _LONGEST_TEXT:
            raise _invalid_text(self._name, f"more than {_LONGEST_TEXT} bytes")

    def _end_part(self) -> None:
        if self._sink:
            if self._is_empty_file:
                self._seen.discard(self._name)
            return
        try:
            text = self._text.decode().strip()
        except UnicodeDecodeError as error:
            raise _invalid_text(self._name, "bytes that are not UTF-8") from error
        # PostgreSQL stores no NUL in a text.
        if "\0" in text:
            raise _invalid_text(self._name, "a NUL character")
        self.values[self._name] = self._texts[self._name](text)

    def _end_form(self) -> None:
        self._complete = True


def _boundary(content_type: str) -> bytes:
    media_type, options = parse_options_header(content_type)
    if media_type != b"multipart/form-data":
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


def _decode(name: bytes, part: str) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError as error:
        raise _malformed(f"{part} is not UTF-8") from error


def _malformed(detail: str) -> Problem:
    return Problem("multipart_invalid", f"the multipart body is malformed: {detail}")


def _invalid_text(field: str, got: str) -> Problem:
    return Problem(
        "field_invalid",
        f"{field} is too long or not text",
        field=field,
        expected=f"UTF-8 of at most {_LONGEST_TEXT} bytes",
        got=got,
    )
