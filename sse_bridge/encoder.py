"""Framing of an event stream (WHATWG HTML, section 9.2) and of newline-delimited JSON.

No content of an event can end its frame, begin another field or affect the next frame.
"""

from __future__ import annotations

import json
import re
from typing import Any

_BREAK = re.compile(rb"\r\n|\r|\n")
_NOT_IN_FIELDS = re.compile(r"[\r\n\0]")
# No blank line after a comment: httpx-sse would make an empty event of it once an id has been sent.
HEARTBEAT = b": heartbeat\n"


def _field(text: str) -> bytes:
    return _NOT_IN_FIELDS.sub("", text).encode("utf-8", "replace")


def _retry(retry_ms: int | None) -> bytes:
    return b"" if retry_ms is None else b"retry: %d\n" % retry_ms


def frame(event: str, data: bytes, *, cursor: str | None = None, retry_ms: int | None = None) -> bytes:
    """Return one event. Line breaks in ``data`` (CRLF, CR and LF alone) become several ``data`` lines.

    CR, LF and NUL are not allowed in an event's name or cursor and are removed from them.
    """
    id_line = b"" if cursor is None else b"id: " + _field(cursor) + b"\n"
    lines = _BREAK.split(data) if b"\n" in data or b"\r" in data else [data]
    head = (_retry(retry_ms), id_line, b"event: ", _field(event), b"\n")
    return b"".join((*head, *(b"data: " + text + b"\n" for text in lines), b"\n"))


def id_only(cursor: str) -> bytes:
    """Return a block that sets the client's last event id and fires no event."""
    return b"id: " + _field(cursor) + b"\n\n"


def comment(text: str, *, retry_ms: int | None = None) -> bytes:
    """Return a comment, which clients ignore, with a new reconnection time if one is given."""
    return b": " + _field(text) + b"\n" + _retry(retry_ms)


def line(fields: dict[str, Any]) -> bytes:
    """Return a JSON object on a line of its own."""
    return json.dumps(fields, separators=(",", ":"), allow_nan=False).encode("ascii") + b"\n"


def one_line(data: bytes) -> bytes:
    """Return JSON text on one line: JSON has line breaks only between tokens, where a space means the same."""
    return data.replace(b"\r", b" ").replace(b"\n", b" ") + b"\n"
