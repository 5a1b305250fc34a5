"""The nesting of JSON text, scanned piece by piece with numpy."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

_QUOTE: Final = 0x22
_STEPS: Final = bytes({0x5B: 1, 0x7B: 1, 0x5D: 255, 0x7D: 255}.get(byte, 0) for byte in range(256))
"""The change of the depth at each byte, as a signed byte: 1 at ``[`` and ``{``, -1 at their counterparts."""


class Brackets:
    """The state of a scan of JSON text: the ``depth`` of nesting, and whether a string is open."""

    def __init__(self) -> None:
        self.depth = 0
        self._is_inside = False
        self._is_escaped = False

    def scan(self, piece: bytes) -> tuple[NDArray[np.bool_], NDArray[np.int32]]:
        """Return for each byte of the next piece whether it is inside a string, and the depth after it.

        The quote that opens a string counts as inside, and the quote that closes it as outside.
        """
        before = b"\\" if self._is_escaped else b""
        # Pairs of backslashes are replaced first, from left to right. A backslash that is left escapes the next byte.
        text = before + piece
        if b"\\" in text:
            text = text.replace(b"\\\\", b"  ").replace(b'\\"', b"  ")
        self._is_escaped = text.endswith(b"\\")
        is_quote = np.frombuffer(text, np.uint8)[len(before) :] == _QUOTE
        inside = np.logical_xor.accumulate(is_quote) ^ self._is_inside
        steps = np.frombuffer(text.translate(_STEPS), np.int8)[len(before) :] * ~inside
        depth = np.cumsum(steps, dtype=np.int32) + np.int32(self.depth)
        if piece:
            self._is_inside, self.depth = bool(inside[-1]), int(depth[-1])
        return inside, depth


def bracket_end(data: bytearray, start: int) -> int:
    """Return the offset after the bracket that closes the one at ``start``; -1 where none does."""
    brackets, size = Brackets(), 4096
    while start < len(data):
        inside, depth = brackets.scan(bytes(data[start : start + size]))
        closed = np.flatnonzero((depth <= 0) & ~inside)
        if len(closed):
            return start + int(closed[0]) + 1
        start += size
        size = min(2 * size, 1 << 20)
    return -1
