"""Framing of an event stream (WHATWG HTML, section 9.2) and of newline-delimited JSON.

Whatever stands in an event, it cannot end a frame, begin another field or reach the next one.
"""

from __future__ import annotations

import json
import re
from typing import Any

__all__ = ["HEARTBEAT", "comment", "frame", "id_only", "line", "one_line"]

_BREAK = re.compile(rb"\r\n|\r|\n")
_NOT_IN_FIELDS = re.compile(r"[\r\n\0]")
# No blank line after a comment: where an id has gone before, httpx-sse makes an empty event of it.
HEARTBEAT = b": heartbeat\n"


def _field(text: str) -> bytes:
    return _NOT_IN_FIELDS.sub("", text).encode("utf-8", "replace")


def frame(event: str, data: bytes, *, cursor: str | None = None, retry_ms: int | None = None) -> bytes:
    """One event. Line breaks in ``data`` (CRLF, CR and LF alone) become several ``data`` lines.

    CR, LF and NUL cannot stand in an event's name or cursor and are taken out of them.
    """
    parts = []
    if retry_ms is not None:
        parts.append(b"retry: %d\n" % retry_ms)
    if cursor is not None:
        parts.append(b"id: " + _field(cursor) + b"\n")
    parts.append(b"event: " + _field(event) + b"\n")
    if b"\n" in data or b"\r" in data:
        parts.extend(b"data: " + piece + b"\n" for piece in _BREAK.split(data))
    else:
        parts.append(b"data: " + data + b"\n")
    parts.append(b"\n")
    return b"".join(parts)


def id_only(cursor: str) -> bytes:
    """A block that moves the client's last event id and fires nothing."""
    return b"id: " + _field(cursor) + b"\n\n"


def comment(text: str, *, retry_ms: int | None = None) -> bytes:
    """A comment, which clients ignore, with a new reconnection time where one is given."""
    retry = b"" if retry_ms is None else b"retry: %d\n" % retry_ms
    return b": " + _field(text) + b"\n" + retry


def line(fields: dict[str, Any]) -> bytes:
    """A JSON object on a line of its own."""
    return json.dumps(fields, separators=(",", ":"), allow_nan=False).encode("ascii") + b"\n"


def one_line(data: bytes) -> bytes:
    """JSON text on one line: in JSON a line break stands only between tokens, where a space means the same."""
    return data.replace(b"\r", b" ").replace(b"\n", b" ") + b"\n"
