"""The first bytes of a file, from which its format is detected."""

from __future__ import annotations

import codecs

from millrace.sources.io.streams import ByteStream, read_fully
from millrace.sources.source_format import Beginning
from millrace.sources.text.decoding import text_codec

_SIZE_BYTES = 65_536
_LONG_LINE_BYTES = 4 << 20


def read_beginning(stream: ByteStream, encoding: str | None) -> Beginning:
    """Return the first 64 KB, or up to 4 MB of text whose first two lines are longer."""
    size = _SIZE_BYTES
    data = read_fully(stream, size)
    while len(data) == size < _LONG_LINE_BYTES and data.count(b"\n") < 2 and b"\0" not in data:
        size *= 2
        data += read_fully(stream, size - len(data))
    return Beginning(data, len(data) < size, _text(data, encoding))


def _text(data: bytes, encoding: str | None) -> str | None:
    """Return the text without a byte order mark and leading white space; None where it is empty or not text."""
    try:
        # The last character may be incomplete. An incremental decoder keeps it without an error.
        text = codecs.getincrementaldecoder(text_codec(encoding))().decode(data)
    except UnicodeError:
        return None
    text = text.removeprefix("\ufeff").lstrip()
    return text if text and "\0" not in text else None
