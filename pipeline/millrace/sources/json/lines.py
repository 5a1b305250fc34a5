"""The elements of a JSON array as JSON lines: a stream of the same length, with one element on each line."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from millrace.errors import SourceFormatError
from millrace.sources.json.brackets import Brackets
from millrace.sources.json.document import Document
from millrace.sources.text.blocks import BLOCK_BYTES

_COMMA, _FEED, _RETURN, _SPACE, _TAB = b",\n\r \t"
_MARKS: Final = np.frombuffer(b"{},", np.uint8)
"""The bytes at the depth of the array that each element has: its brackets, and the comma after it."""


class ElementLines:
    """A ``ByteStream`` of the elements between ``start`` and ``stop`` of a document, one on each line.

    Line ends between values become blanks, and commas between elements become line ends, so each byte keeps its offset.
    Raises ``SourceFormatError`` for an element that is not an object.
    """

    def __init__(self, document: Document, start: int, stop: int) -> None:
        self._document = document
        self._offset = start
        self._stop = max(start, document.before_space(stop))
        self._brackets = Brackets()
        self._marks = 0

    @property
    def position(self) -> int:
        """Return the number of bytes of the source file up to here; for a compressed file it is in proportion."""
        return self._document.source_bytes * self._offset // max(1, len(self._document.data))

    def read(self, size: int) -> bytes:
        """Read at most ``size`` bytes and at most 1 MB; return ``b""`` at the end of the array."""
        start = self._offset
        piece = bytes(self._document.data[start : min(start + min(size, BLOCK_BYTES), self._stop)])
        if not piece:
            self._check_end()
            return b""
        data = np.frombuffer(piece, np.uint8).copy()
        before = self._brackets.depth
        inside, depth = self._brackets.scan(piece)
        is_outer = depth == 0
        is_end = (data == _FEED) | (data == _RETURN)
        self._check_texts(inside & is_end)
        is_mark = is_outer | np.concatenate([[before == 0], is_outer[:-1]])
        self._check_marks(data, is_mark & ~is_end & (data != _SPACE) & (data != _TAB))
        data[is_end] = _SPACE
        data[is_outer & (data == _COMMA)] = _FEED
        self._offset += len(piece)
        return data.tobytes()

    def close(self) -> None:
        """Do nothing: the document is in memory."""

    def _check_texts(self, ends: NDArray[np.bool_]) -> None:
        """Raise ``SourceFormatError`` for a line end in a string."""
        if ends.any():
            raise self._document.error(
                self._offset + int(ends.argmax()), "a text has a line end", "write it as \\n, or close the text before"
            )

    def _check_marks(self, data: NDArray[np.uint8], is_mark: NDArray[np.bool_]) -> None:
        """Raise ``SourceFormatError`` where the bytes at the depth of the array are not ``{},{},...``."""
        offsets = np.flatnonzero(is_mark)
        expected = np.resize(np.roll(_MARKS, -(self._marks % 3)), len(offsets))
        wrong = np.flatnonzero(data[offsets] != expected)
        if len(wrong):
            raise self._wrong_mark(self._offset + int(offsets[wrong[0]]), self._marks + int(wrong[0]))
        self._marks += len(offsets)

    def _wrong_mark(self, offset: int, marks: int) -> SourceFormatError:
        element, mark = divmod(marks, 3)
        if mark == 2:
            return self._document.error(offset, f"no comma follows element {element + 1} of the array")
        if mark == 1:
            return self._document.error(offset, f"the brackets of element {element + 1} of the array do not match")
        if self._document.data[offset] == _COMMA:
            return self._document.error(offset, f"element {element + 1} of the array is missing before this comma")
        kind = self._document.kind_at(offset)
        return self._document.error(offset, f"element {element + 1} of the array is {kind} and not an object")

    def _check_end(self) -> None:
        if self._marks and self._marks % 3 == 0:
            raise self._document.error(self._offset - 1, "no element follows the last comma of the array")
