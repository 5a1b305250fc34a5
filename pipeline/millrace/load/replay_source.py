"""Write rejected rows as files in their first format, from which a replay loads those that fit now."""

from __future__ import annotations

import csv
import io
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from millrace.sources import Reject, RejectKind

_KINDS = tuple(RejectKind)


@dataclass(slots=True)
class _Rows:
    """The rows of one file of a replay: for each its line there, and its file, line and kind in the first source."""

    starts: array[int] = field(default_factory=lambda: array("q"))
    files: array[int] = field(default_factory=lambda: array("q"))
    lines: array[int] = field(default_factory=lambda: array("q"))
    kinds: array[int] = field(default_factory=lambda: array("b"))


class ReplayFiles:
    """Files with the rejected rows that can be read again, one for each order of columns.

    It is the ``RejectOrigins`` of their load. ``rows`` counts the rows in the files, and ``cut`` those that cannot be
    read again because their text is not complete.
    """

    def __init__(self, folder: Path, reading: Mapping[str, Any]) -> None:
        self.rows = 0
        self.cut = 0
        self.paths: list[str] = []
        self._folder = folder
        self._is_csv = reading["format"] == "csv"
        self._delimiter = reading["options"]["delimiter"] or ","
        self._headers = [tuple(columns) for columns, _ in reading["headers"]] or [tuple(reading["columns"])]
        self._header_of = {file: n for n, (_, files) in enumerate(reading["headers"]) for file in files}
        self._names: dict[str, int] = {}
        self._rows: dict[str, _Rows] = {}

    def write(self, batches: Iterable[pa.RecordBatch]) -> None:
        """Write the rows of a dataset of rejects; values that were made null belong to rows that are loaded already."""
        streams: dict[int, BinaryIO] = {}
        lines: dict[int, int] = {}
        try:
            for batch in batches:
                for row in batch.to_pylist():
                    if row["kind"] == RejectKind.DISCARDED_VALUE:
                        continue
                    if not row["is_complete"]:
                        self.cut += 1
                        continue
                    number = self._header_of.get(row["file"], 0)
                    if number not in streams:
                        streams[number] = self._begin(number)
                        lines[number] = 1 + (self._header(number).count(b"\n") if self._is_csv else 0)
                    lines[number] = self._add(streams[number], number, lines[number], row)
        finally:
            for stream in streams.values():
                stream.close()

    def of(self, reject: Reject) -> Reject:
        """Return the reject with the file, the line and the kind of the row in its first source."""
        rows = self._rows[reject.file]
        index = bisect_right(rows.starts, reject.line) - 1
        return Reject(
            list(self._names)[rows.files[index]],
            rows.lines[index],
            reject.column,
            reject.reason,
            reject.raw,
            _KINDS[rows.kinds[index]],
            reject.is_complete,
        )

    def _file_name(self, number: int) -> str:
        return f"rejects-{number}.{'csv' if self._is_csv else 'jsonl'}"

    def _begin(self, number: int) -> BinaryIO:
        path = self._folder / self._file_name(number)
        self.paths.append(str(path))
        self._rows[path.name] = _Rows()
        stream = path.open("wb")
        if self._is_csv:
            stream.write(self._header(number))
        return stream

    def _header(self, number: int) -> bytes:
        text = io.StringIO()
        writer = csv.writer(text, delimiter=self._delimiter, quoting=csv.QUOTE_ALL, lineterminator="\n")
        writer.writerow(self._headers[number])
        return text.getvalue().encode()

    def _add(self, stream: BinaryIO, number: int, line: int, row: Mapping[str, Any]) -> int:
        """Write one row and return the line after it."""
        data = row["raw"].encode() + b"\n"
        stream.write(data)
        rows = self._rows[self._file_name(number)]
        rows.starts.append(line)
        rows.files.append(self._names.setdefault(row["file"], len(self._names)))
        rows.lines.append(row["line"])
        rows.kinds.append(_KINDS.index(RejectKind(row["kind"])))
        self.rows += 1
        return line + len(data.splitlines())
