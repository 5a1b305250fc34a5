"""Read flatbuffers, in which Arrow writes the headers of its IPC messages: pyarrow has no access to their fields."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, Self


class Table:
    """A flatbuffers table: fields by number, each at an offset that the table's vtable gives.

    Methods raise ``ValueError`` or ``struct.error`` for data that is not such a table. ``data`` is bytes or a
    memoryview.
    """

    def __init__(self, data: Any, position: int) -> None:
        self._data, self._position = data, position
        self._vtable = position - self._integer("<i", position)
        if self._vtable < 0:
            raise ValueError(self._vtable)
        self._vtable_bytes = self._integer("<H", self._vtable)

    @classmethod
    def root(cls, data: Any) -> Self:
        """Return the outermost table."""
        return cls(data, *struct.unpack_from("<I", data))

    def has(self, number: int) -> bool:
        """Return whether the field is present."""
        return self._field(number) != 0

    def number(self, number: int, kind: str) -> int:
        """Return an integer in the format ``kind`` of ``struct``; 0 if the field is absent."""
        position = self._field(number)
        return self._integer(kind, position) if position else 0

    def table(self, number: int) -> Table:
        """Return a table; raise ``ValueError`` if the field is absent."""
        position = self._field(number)
        if not position:
            raise ValueError(number)
        return self._pointed_table(position)

    def pairs(self, number: int) -> tuple[tuple[int, int], ...]:
        """Return a vector of structs of two int64."""
        start, count = self._vector(number)
        if start + 16 * count > len(self._data):
            raise ValueError(count)
        integers = struct.unpack_from(f"<{2 * count}q", self._data, start)
        return tuple(zip(integers[::2], integers[1::2], strict=True))

    def tables(self, number: int) -> Iterator[Table]:
        """Yield the tables of a vector."""
        start, count = self._vector(number)
        return (self._pointed_table(start + 4 * index) for index in range(count))

    def text(self, number: int) -> str:
        """Return a text; an absent one is empty."""
        start, count = self._vector(number)
        return bytes(self._data[start : start + count]).decode()

    def _integer(self, kind: str, position: int) -> int:
        return int(struct.unpack_from(kind, self._data, position)[0])

    def _pointed_table(self, position: int) -> Table:
        return Table(self._data, position + self._integer("<I", position))

    def _vector(self, number: int) -> tuple[int, int]:
        """Return the position of the first element, and the number of elements."""
        position = self._field(number)
        if not position:
            return 0, 0
        position += self._integer("<I", position)
        return position + 4, self._integer("<I", position)

    def _field(self, number: int) -> int:
        entry = 4 + 2 * number
        if entry + 2 > self._vtable_bytes:
            return 0
        offset = self._integer("<H", self._vtable + entry)
        return self._position + offset if offset else 0
