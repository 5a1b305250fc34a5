"""One JSON document in memory, and the steps through its values."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from millrace.display import shortened
from millrace.errors import SourceFormatError, SourceTooLargeError
from millrace.sources.io.byte_streams import ByteStream
from millrace.sources.json.brackets import bracket_end
from millrace.sources.jsonl.arrays import lines_command
from millrace.sources.model import SourceFile
from millrace.sources.text.blocks import BLOCK_BYTES

_SPACE: Final = re.compile(rb"[ \t\r\n]*+")
_STRING: Final = re.compile(rb'"[^"\\\r\n]*+(?:\\.[^"\\\r\n]*+)*+"')
_WORD: Final = re.compile(rb'[^][{}",:\s]++')
_NUMBERS: Final = "-0123456789"
_KINDS: Final = {"{": "an object", "[": "an array", '"': "a text", "t": "true", "f": "false", "n": "null"}


class Member(NamedTuple):
    """A key of an object, and the offsets at which its value begins and ends (exclusive)."""

    key: str
    start: int
    stop: int


class Document:
    """The UTF-8 text of one file, ``data``, and the number of bytes of the file that were read for it."""

    def __init__(self, file: SourceFile, data: bytearray, source_bytes: int) -> None:
        self.file = file
        self.data = data
        self.source_bytes = source_bytes
        self._counted = 0, 1

    def after_space(self, offset: int) -> int:
        """Return the offset of the first byte from ``offset`` that is not white space."""
        match = _SPACE.match(self.data, offset)
        return match.end() if match else offset

    def before_space(self, offset: int) -> int:
        """Return the offset after the last byte before ``offset`` that is not white space."""
        while offset and self.data[offset - 1] in b" \t\r\n":
            offset -= 1
        return offset

    def kind_at(self, offset: int) -> str:
        """Return the kind of the value at ``offset`` with its article, for messages."""
        first = chr(self.data[offset]) if offset < len(self.data) else ""
        return _KINDS.get(first, "a number" if first and first in _NUMBERS else "not a JSON value")

    def end_of(self, start: int) -> int:
        """Return the offset after the value at ``start``; raises ``SourceFormatError`` where it does not end.

        Only the quotes and brackets of an array or object are checked.
        """
        first = bytes(self.data[start : start + 1])
        if first in (b"[", b"{"):
            if (end := bracket_end(self.data, start)) < 0:
                raise self.error(start, f"{self.kind_at(start)} begins here and does not end", "copy the file again")
            return end
        match = (_STRING if first == b'"' else _WORD).match(self.data, start)
        if match is None:
            raise self.not_json(start)
        return match.end()

    def members(self, start: int) -> Iterator[Member]:
        """Yield each member of the object at ``start``."""
        offset = self.after_space(start + 1)
        if self.data[offset : offset + 1] == b"}":
            return
        while True:
            key_end = self.end_of(offset)
            colon = self.after_space(key_end)
            if self.data[offset] != ord('"') or self.data[colon : colon + 1] != b":":
                raise self.not_json(offset)
            value = self.after_space(colon + 1)
            value_end = self.end_of(value)
            yield Member(self._key(offset, key_end), value, value_end)
            offset = self.after_space(value_end)
            if self.data[offset : offset + 1] == b"}":
                return
            if self.data[offset : offset + 1] != b",":
                raise self.not_json(offset)
            offset = self.after_space(offset + 1)

    def line_at(self, offset: int) -> int:
        """Return the line number, from 1, of the first byte from ``offset`` that is not white space.

        Only the text after the previous such byte is counted, if this one follows it.
        """
        stop = self.after_space(offset)
        start, line = self._counted if self._counted[0] <= stop else (0, 1)
        feeds, returns, both = (self.data.count(end, start, stop) for end in (b"\n", b"\r", b"\r\n"))
        self._counted = stop, line + feeds + returns - both
        return self._counted[1]

    def error(self, offset: int, problem: str, hint: str = "") -> SourceFormatError:
        """Return the error for a problem at ``offset``."""
        line = self.line_at(offset)
        message = f"{self.file.name}, line {line}: {problem}"
        return SourceFormatError(message, hint=hint, file=self.file.name, line=line)

    def not_json(self, offset: int) -> SourceFormatError:
        """Return the error for text at ``offset`` that is not JSON."""
        text = self.data[offset : offset + 40].decode("utf-8", "replace")
        return self.error(offset, f"this is not JSON: {shortened(repr(text))}" if text else "the document ends here")

    def _key(self, start: int, end: int) -> str:
        try:
            return str(json.loads(self.data[start:end]))
        except ValueError:
            raise self.not_json(start) from None


def read_document(file: SourceFile, stream: ByteStream, max_bytes: int, query: str) -> Document:
    """Return the document of a stream of UTF-8; raises ``SourceTooLargeError`` above ``max_bytes``.

    ``query`` is the filter of jq that makes JSON lines of the document, for the hint.
    """
    data = bytearray()
    while piece := stream.read(BLOCK_BYTES):
        data += piece
        if len(data) > max_bytes:
            raise _too_large(file, len(data) + _rest_bytes(stream), max_bytes, query)
    return Document(file, data, stream.position)


def _rest_bytes(stream: ByteStream) -> int:
    size = 0
    while piece := stream.read(BLOCK_BYTES):
        size += len(piece)
    return size


def _too_large(file: SourceFile, size: int, max_bytes: int, query: str) -> SourceTooLargeError:
    return SourceTooLargeError(
        f"{file.name}: a document of {size:,} bytes; at most {max_bytes:,} are read at once",
        hint=f"make JSON lines of it ({lines_command(file, query)}), or give --max-unit-bytes {size}",
        file=file.name,
        size_bytes=size,
    )
