"""A workaround for CSV text: pyarrow drops a byte order mark at the start of each block."""

from __future__ import annotations

import codecs


def keep_mark(data: bytes) -> bytes:
    """Return ``data`` with a second byte order mark if it begins with one, so that pyarrow keeps the first.

    pyarrow removes a byte order mark from the front of every block. ``open_decoded`` has already removed the file's
    own mark, so a remaining one is a character of a value or a name.
    """
    return codecs.BOM_UTF8 + data if data.startswith(codecs.BOM_UTF8) else data
