"""Parsing of JSON lines with the types of their columns: given types, inferred ones, and how inferred ones widen."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass

import pyarrow as pa

from millrace.arrow import wider_inferred_type
from millrace.sources.jsonl.parser import MAX_DEPTH, NotALine, depth_of, parse_lines, parse_times, with_texts
from millrace.sources.jsonl.times import as_text, holds_times, is_time, times_of
from millrace.sources.text.row_separator import Types
from millrace.sources.type_conversion import InvalidTimeError, converted

ERRORS = (pa.ArrowInvalid, NotALine, UnicodeDecodeError)
"""The errors for lines that are no objects or do not fit their types."""
_LEFT_OUT_MAX = 100


@dataclass(frozen=True, slots=True)
class _TextOrLeftOut:
    """The names of the columns that are read as text: those given as text, and those not selected."""

    texts: frozenset[str]
    selected: frozenset[str]

    def __contains__(self, name: object) -> bool:
        return name in self.texts or name not in self.selected


class TypedLineParser:
    """A parser of lines with the ``given`` types of some columns; only the columns ``only`` are read (None: all).

    ``left_out`` holds the names of columns that appeared and are not selected, the first 100 of them.
    """

    def __init__(self, only: Collection[str] | None, given: Types) -> None:
        self.given = given
        self.left_out: dict[str, None] = {}
        self._texts = frozenset(
            name for name, kind in given.items() if pa.types.is_string(kind) or pa.types.is_large_string(kind)
        )
        # A given timestamp in UTC also accepts text without a zone. One without a zone rejects text with a zone.
        self._native = frozenset(name for name, kind in given.items() if not is_time(kind) or _has_zone(kind))
        # Dates and times of day may also be JSON numbers: days, or a count of the type's unit.
        self._numbers = frozenset(n for n, kind in given.items() if not pa.types.is_timestamp(kind) or _has_zone(kind))
        self._selected = None if only is None else frozenset(only)
        self._unexpected = "error" if only is None else "ignore"

    def parse_fast(self, data: bytes, types: Types) -> pa.RecordBatch:
        """Parse lines whose values are spelled as pyarrow reads them; ``parse`` may read lines that fail here."""
        return parse_times(data, types, unexpected=self._unexpected, native=self._native)

    def parse(self, data: bytes, types: Types, unexpected: str | None = None) -> pa.RecordBatch:
        """Parse lines with any spelling that the given types allow; raises one of ``ERRORS``.

        ``unexpected`` is pyarrow's behaviour for other columns; None follows from the selected columns.
        """
        unexpected = unexpected or self._unexpected
        try:
            return parse_times(data, types, unexpected=unexpected, native=self._native)
        except pa.ArrowInvalid:
            if not self._texts and self._selected is None and self._numbers == self._native:
                raise
        if self._numbers != self._native:
            try:
                return parse_times(data, types, unexpected=unexpected, native=self._numbers)
            except InvalidTimeError:
                raise
            except pa.ArrowInvalid:
                pass
        texts = self._texts if self._selected is None else _TextOrLeftOut(self._texts, self._selected)
        return parse_times(with_texts(data, texts), types, unexpected=unexpected, native=self._native)

    def fields(self, data: bytes) -> tuple[list[pa.Field], int]:
        """Return the columns of the lines with their types, in order of appearance, and the number of rows."""
        data = self._with_given_texts(data)
        batch = self.infer(data)
        # pyarrow puts columns of a given type first, so a second parse without types returns the real order.
        names = parse_lines(data, {}, unexpected="infer").schema.names if self.given else batch.schema.names
        return [batch.schema.field(name) for name in names], batch.num_rows

    def infer(self, data: bytes) -> pa.RecordBatch:
        """Parse the lines with types inferred from these lines alone; columns of a given type come first."""
        batch = self.parse(data, self.given, "infer")
        times = {f.name: f.type for f in batch.schema if f.name not in self.given and holds_times(f.type)}
        if not times:
            return batch
        texts = self.parse(data, {**self.given, **{name: as_text(kind) for name, kind in times.items()}}, "infer")
        columns = dict(zip(batch.schema.names, batch.columns, strict=True))
        for name, kind in times.items():
            columns[name] = converted(texts.column(name), times_of(texts.column(name), kind))
        return pa.RecordBatch.from_pydict(columns)

    def widen(self, types: Types, fields: Iterable[pa.Field], *, grow: bool) -> Types | None:
        """Return ``types`` widened to hold these fields too, or None when that is not allowed.

        With ``grow`` new columns are allowed.
        """
        wider = dict(types)
        for field in fields:
            if self._selected is not None and field.name not in self._selected:
                if len(self.left_out) < _LEFT_OUT_MAX:
                    self.left_out[field.name] = None
                continue
            if field.name in self.given:
                wider[field.name] = self.given[field.name]
                continue
            if field.name not in wider and not grow:
                return None
            kind = wider_inferred_type(wider.get(field.name, pa.null()), field.type, grow=grow)
            if kind is None or depth_of(kind) > MAX_DEPTH:
                return None
            wider[field.name] = kind
        return wider

    def wider_types(self, data: bytes, types: Types, *, grow: bool) -> Types | None:
        """Return ``types`` widened to hold these lines too, or None where the lines cannot be read with them."""
        with suppress(*ERRORS):
            wider = self.widen(types, self.infer(data).schema, grow=grow)
            if wider is not None and not grow:
                self.parse(data, wider)
            return wider
        return None

    def _with_given_texts(self, data: bytes) -> bytes:
        """Return the lines with every value of the given text columns as a string."""
        if not self._texts:
            return data
        try:
            parse_lines(data, dict.fromkeys(self._texts, pa.string()), unexpected="ignore")
        except pa.ArrowInvalid:
            return with_texts(data, self._texts)
        return data


def _has_zone(kind: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(kind)) and kind.tz is not None
