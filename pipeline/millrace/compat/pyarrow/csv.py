"""Workarounds for CSV text: pyarrow drops byte order marks, and fails for ragged rows that are not UTF-8."""

from __future__ import annotations

import codecs
from typing import Final

_AS_ASCII: Final = bytes(byte if byte < 128 else ord("?") for byte in range(256))


def keep_mark(data: bytes) -> bytes:
    """Return ``data`` with a second byte order mark if it begins with one, so that pyarrow keeps the first.

    pyarrow removes a byte order mark from the front of every block. ``open_decoded`` has already removed the file's
    own mark, so a remaining one is a character of a value or a name.
    """
    return codecs.BOM_UTF8 + data if data.startswith(codecs.BOM_UTF8) else data


def as_ascii(data: bytes) -> bytes:
    """Return ``data`` with a question mark for each byte beyond ASCII: rows and columns are the same.

    pyarrow passes a ragged row as text to its handler, and does not call it for a row that is not UTF-8.
    """
    return data.translate(_AS_ASCII)
