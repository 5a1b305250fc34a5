"""Parsing of JSON lines: the conversion of one block of lines into a record batch.

One line is one object. Numbers, including ``NaN`` and ``Infinity``, are read as pyarrow reads them. A column whose
strings all look like ``2026-11-22 10:00:00`` is a timestamp, in UTC where all of them name a zone. A column of dates
without a time is a date column, as in a CSV.
"""

from __future__ import annotations

import json
import re
from collections.abc import Container, Iterable

import numpy as np
import pyarrow as pa
import pyarrow.json as pj

from millrace.arrow import holds
from millrace.compat.pyarrow.json import with_complete_lists
from millrace.errors import UsageError
from millrace.sources.jsonl.times import as_text, holds_times
from millrace.sources.text.records import record_ends, record_starts
from millrace.sources.type_conversion import check_decimals, check_times, converted, is_json_time, json_type

MAX_DEPTH = 60
"""Arrow's IPC reader stops at 64 levels. pyarrow's JSON parser crashes somewhere below 20,000."""
NOT_ONE_OBJECT = "this line is not one JSON object"
"""The reason for which a line is no row."""

_DECODER = json.JSONDecoder()
_LONG_LINE = 2000
_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*"')
_BRACKET_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\x02\x02")
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


class NotALine(ValueError):
    """A block that is not one object a line; ``args[0]`` is the reason, ``args[1]`` the byte offset where known."""


def parse_lines(data: bytes, types: dict[str, pa.DataType], *, unexpected: str) -> pa.RecordBatch:
    """Parse lines into one record batch that has the columns ``types`` first, in their order.

    ``unexpected`` is pyarrow's behaviour for other columns: "infer", "error" or "ignore". Raises ``pa.ArrowInvalid``
    or ``NotALine``, and ``UnicodeDecodeError`` for text that is not UTF-8.
    """
    check_depth(data)
    if not data.isascii():
        data.decode()
    table = _read(data, types, unexpected)
    lines = len(record_starts(data, None))
    if table.num_rows != lines:
        _refuse_lines(data, table.num_rows)
    # Of a batch parsed with "infer" only the types are used.
    return _one_batch(table, complete_lists=unexpected != "infer")


def _read(data: bytes, types: dict[str, pa.DataType], unexpected: str) -> pa.Table:
    """Return the rows with their types; types that pyarrow does not parse are read as another type and converted."""
    read = {name: json_type(kind, times_as_text=False) for name, kind in types.items()}
    try:
        table = _read_table(data, read, unexpected)
    except pa.ArrowInvalid:
        if not any(holds(kind, is_json_time) for kind in types.values()):
            raise
        read = {name: json_type(kind, times_as_text=True) for name, kind in types.items()}
        table = _read_table(data, read, unexpected)
    for number, field in enumerate(table.schema):
        kind = types.get(field.name, field.type)
        if field.name in types and holds(field.type, is_json_time):
            for chunk in table.column(number).chunks:
                check_times(chunk)
        for chunk in table.column(number).chunks:
            check_decimals(chunk)
        if not field.type.equals(kind):
            column = pa.chunked_array([converted(chunk, kind) for chunk in table.column(number).chunks], kind)
            table = table.set_column(number, field.with_type(kind), column)
    return table


def _read_table(data: bytes, types: dict[str, pa.DataType], unexpected: str) -> pa.Table:
    return pj.read_json(
        pa.BufferReader(data),
        read_options=pj.ReadOptions(use_threads=False, block_size=len(data) + 1),
        parse_options=pj.ParseOptions(
            explicit_schema=pa.schema(list(types.items())), unexpected_field_behavior=unexpected
        ),
    )


def parse_times(
    data: bytes, types: dict[str, pa.DataType], *, unexpected: str, native: frozenset[str] = frozenset()
) -> pa.RecordBatch:
    """Parse lines as ``parse_lines`` does, with dates and times read as in a CSV, except in the columns ``native``."""
    times = {name: kind for name, kind in types.items() if name not in native and holds_times(kind)}
    if not times:
        return parse_lines(data, types, unexpected=unexpected)
    texts = {name: as_text(kind) for name, kind in times.items()}
    batch = parse_lines(data, {**types, **texts}, unexpected=unexpected)
    columns = [
        converted(column, times.get(name, column.type))
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _one_batch(table: pa.Table, *, complete_lists: bool) -> pa.RecordBatch:
    batches = table.to_batches()
    if len(batches) == 1:
        return with_complete_lists(batches[0]) if complete_lists else batches[0]
    if not table.num_rows or not table.num_columns:
        return pa.RecordBatch.from_pylist([], table.schema)
    return table.combine_chunks().to_batches()[0]


def _refuse_lines(data: bytes, rows: int) -> None:
    """Raise ``NotALine`` for the first line that is not exactly one object.

    Lines of white space alone do not count. Returns where ``rows`` equals the number of the other lines.
    """
    starts = record_starts(data, None).tolist()
    full = [start for start, line in zip(starts, lines_of(data, starts), strict=True) if line.strip()]
    if len(full) == rows:
        return
    for start, line in zip(starts, lines_of(data, starts), strict=True):
        if not line.strip():
            continue
        try:
            json.loads(line)
        except ValueError:
            raise NotALine(NOT_ONE_OBJECT, start) from None
    raise NotALine("there is not one JSON object in each line")


def lines_of(data: bytes, starts: list[int]) -> Iterable[bytes]:
    """Return the lines that begin at these offsets."""
    return (data[start:stop] for start, stop in zip(starts, [*starts[1:], len(data)], strict=True))


def check_depth(data: bytes) -> None:
    """Raise ``NotALine`` for a line nested so deep that parsing it would end the process."""
    ends = np.append(record_ends(data, None), len(data))
    starts = np.concatenate([[0], ends[:-1]])
    for number in np.flatnonzero(ends - starts > _LONG_LINE).tolist():
        line = data[starts[number] : ends[number]]
        if line.count(b"[") + line.count(b"{") <= 1000:
            continue
        # Brackets in strings do not nest. After both replacements only the other brackets remain.
        steps = _STRINGS.sub(b"", line).translate(_BRACKET_STEPS, _NO_BRACKETS)
        levels = np.frombuffer(steps, dtype=np.int8)
        if len(levels) and int(np.cumsum(np.where(levels == 1, 1, -1)).max()) > 1000:
            raise NotALine(f"nested deeper than {MAX_DEPTH} levels", int(starts[number]))


def depth_of(kind: pa.DataType) -> int:
    """Return the number of levels that a type is nested."""
    if pa.types.is_struct(kind):
        return 1 + max((depth_of(field.type) for field in kind.fields), default=0)
    if pa.types.is_list(kind):
        return 1 + depth_of(kind.value_type)
    return 0


def with_texts(data: bytes, names: Container[str]) -> bytes:
    """Return the lines with every value of these columns that is neither a string nor null as its JSON text.

    All values keep their spelling. Python parses every line, so callers use this only for blocks that need it.
    """
    starts = record_starts(data, None).tolist()
    return b"".join(_with_texts(line, names) for line in lines_of(data, starts))


def _with_texts(line: bytes, names: Container[str]) -> bytes:
    text = line.decode()
    pieces, copied, offset = [], 0, _skip(text, 0)
    try:
        if text[offset] != "{":
            return line
        offset = _skip(text, offset + 1)
        while text[offset] == '"':
            name, offset = _DECODER.raw_decode(text, offset)
            offset = _skip(text, _skip(text, offset) + 1)
            value, end = _DECODER.raw_decode(text, offset)
            if name in names and not (value is None or isinstance(value, str)):
                pieces += [text[copied:offset], json.dumps(text[offset:end], ensure_ascii=False)]
                copied = end
            offset = _skip(text, end)
            if text[offset] == "}":
                break
            offset = _skip(text, offset + 1)
    except (ValueError, IndexError, RecursionError):
        return line  # not an object: pyarrow raises the error
    return "".join([*pieces, text[copied:]]).encode()


def _skip(text: str, offset: int) -> int:
    while text[offset : offset + 1] in (" ", "\t"):
        offset += 1
    return offset


def check_types(types: dict[str, pa.DataType]) -> None:
    """Raise ``UsageError`` for a type that JSON values cannot be read as, before anything is read."""
    for column, kind in types.items():
        try:
            parse_lines(b'{"a":null}\n', {"a": kind}, unexpected="error")
        except pa.ArrowNotImplementedError:
            raise UsageError(f"column {column!r} of JSON lines cannot be read as {kind}") from None
