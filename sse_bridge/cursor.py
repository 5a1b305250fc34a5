"""The cursor: how far a client has read, as ``<epoch>.<next offset of partition 0>[.<of partition 1>...]``.

The epoch identifies the topic, so that offsets of a deleted and recreated topic are never mistaken for offsets of
this one. Clients treat the cursor as opaque.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_FORM = re.compile(r"[0-9a-f]{8}(?:\.(?:0|[1-9][0-9]{0,18})){1,64}", re.ASCII)
_LENGTH_MAX = 1300


@dataclass(frozen=True, slots=True)
class Cursor:
    """A position in every partition of one topic: the offsets of the next records."""

    epoch: str
    offsets: tuple[int, ...]

    def __str__(self) -> str:
        return ".".join((self.epoch, *map(str, self.offsets)))


def precedes(earlier: tuple[int, ...], later: tuple[int, ...]) -> bool:
    """Return whether no offset of ``earlier`` is above that of ``later`` in the same partition."""
    return all(a <= b for a, b in zip(earlier, later, strict=True))


def parse_cursor(text: str) -> Cursor | None:
    """Return the cursor in ``text``, or ``None`` if it is malformed; never raises."""
    if len(text) > _LENGTH_MAX or not _FORM.fullmatch(text):
        return None
    epoch, *offsets = text.split(".")
    return Cursor(epoch, tuple(map(int, offsets)))
