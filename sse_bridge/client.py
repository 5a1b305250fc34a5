"""A client of the hub: its position in the ring, its filter and its format. It encodes the entries that it receives."""

from __future__ import annotations

from dataclasses import dataclass

from sse_bridge import encoder
from sse_bridge.cursor import Cursor
from sse_bridge.filters import Filter
from sse_bridge.ring import Entry


@dataclass(slots=True)
class ClientPosition:
    """A client's position: the number of its next entry; on a resumed stream also its earlier offsets."""

    selection: Filter
    lines: bool
    next_entry: int
    resume_offsets: tuple[int, ...] | None = None
    """Offsets that the client had reached on an earlier connection, while the next entries may precede them."""

    def encode(self, entries: list[Entry], behind_events: int) -> bytes:
        """Return the bytes of the entries that pass; of more than ``behind_events`` only the newest of each source."""
        if len(entries) > behind_events:
            entries = _newest(entries)
        return b"".join(
            encoder.one_line(entry.raw) if self.lines else entry.sse
            for entry in entries
            if self.selection.passes(entry.labels)
        )

    def encode_resumed(self, entries: list[Entry], epoch: str, offsets: tuple[int, ...]) -> bytes:
        """Return the entries that a client has not received, with cursors that include its earlier ``offsets``.

        After a restart of the bridge the ring may interleave the partitions in another order than the client
        received them. An entry's own position may then be behind the client's in another partition.
        """
        parts = []
        for entry in entries:
            if entry.offset < offsets[entry.partition]:
                continue
            offsets = tuple(max(a, b) for a, b in zip(offsets, entry.after, strict=True))
            if not self.selection.passes(entry.labels):
                continue
            if self.lines:
                parts.append(encoder.one_line(entry.raw))
            elif offsets == entry.after:
                parts.append(entry.sse)
            else:
                parts.append(encoder.frame("progress", entry.raw, cursor=str(Cursor(epoch, offsets))))
        return b"".join(parts)


def _newest(entries: list[Entry]) -> list[Entry]:
    """Return the last entry of each source, in ring order: intermediate states are left out, final ones never."""
    newest: dict[str, Entry] = {}
    for entry in reversed(entries):
        newest.setdefault(entry.source, entry)
    return list(newest.values())[::-1]
