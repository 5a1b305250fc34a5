"""Errors for JSON lines that do not fit their types, with the first such line and the option that helps."""

from __future__ import annotations

import json
import re
from contextlib import suppress

import pyarrow as pa

from millrace.arrow import wider_inferred_type
from millrace.display import shortened
from millrace.errors import SourceError, SourceFormatError, SourceTypeError
from millrace.names import column_type_option
from millrace.sources.jsonl.arrays import json_array, json_refusal, spread_refusal
from millrace.sources.jsonl.parser import MAX_DEPTH, NOT_ONE_OBJECT, NotALine, depth_of, parse_lines
from millrace.sources.jsonl.typed_parser import ERRORS, TypedLineParser
from millrace.sources.model import SourceFile
from millrace.sources.text.blocks import Block
from millrace.sources.text.decoding import TextFiles, not_utf8
from millrace.sources.text.records import record_starts
from millrace.sources.text.row_separator import Types

_ROW = re.compile(r" in row \d+$")


def block_error(block: Block, types: Types, parser: TypedLineParser, text: TextFiles, *, grow: bool) -> SourceError:
    """Return the error for the first line of a block that does not fit, found by bisection."""
    file, data = text.files[block.file], block.data
    starts = [*record_starts(data, None).tolist(), len(data)]
    good, bad, types_before = 0, len(starts) - 1, types
    while bad - good > 1:
        middle = (good + bad) // 2
        wider = parser.wider_types(data[: starts[middle]], types, grow=grow)
        if wider is None:
            bad = middle
        else:
            good, types_before = middle, wider
    start, record = starts[good], data[starts[good] : starts[bad]]
    line = text.line_of(block, start)
    try:
        inferred = parser.infer(record)
    except UnicodeDecodeError:
        return not_utf8(record, file.name, line)
    except (pa.ArrowInvalid, NotALine) as error:
        return (
            _not_lines(file, record, data[start:], line)
            or _wrong_given_type(record, file.name, line, parser)
            or SourceFormatError(f"{file.name}, line {line}: {reason_of(error)}", file=file.name, line=line)
        )
    return _type_error(file.name, line, types_before, inferred, grow=grow)


def _wrong_given_type(record: bytes, name: str, line: int, parser: TypedLineParser) -> SourceTypeError | None:
    """Return the error for the first column of a line whose value is not of its given type, or None."""
    for column, kind in parser.given.items():
        try:
            parser.parse(record, {column: kind}, "ignore")
        except (pa.ArrowInvalid, NotALine) as error:
            with suppress(*ERRORS):
                parse_lines(record, {}, unexpected="infer")
                return SourceTypeError(
                    f"{name}, line {line}: column {column!r} was given as {kind}: {reason_of(error)}",
                    hint=f"give another type: {column_type_option(column)}",
                    file=name,
                    line=line,
                    column=column,
                    expected=str(kind),
                )
    return None


def _not_lines(file: SourceFile, record: bytes, rest: bytes, line: int) -> SourceFormatError | None:
    """Return the error for a JSON array, or for an object that continues on the next line; else None."""
    text = record.decode("utf-8", "replace").strip()
    if line == 1 and text.startswith("["):
        array = json_array(rest.decode("utf-8", "replace").lstrip(), complete=False)
        return json_refusal(file, array, line) if array else None
    if not text.startswith("{"):
        return None
    try:
        json.loads(text)
    except RecursionError:
        return None
    except json.JSONDecodeError as error:
        return spread_refusal(file, line) if error.pos >= len(text) else None
    return None


def reason_of(error: Exception) -> str:
    """Return the reason for which a line is not one object, or does not fit its types."""
    text = str(error.args[0] if isinstance(error, NotALine) else error)
    if "Column() changed" in text:
        return NOT_ONE_OBJECT
    return _ROW.sub("", text.removeprefix("JSON parse error: ")).rstrip(".")


def type_change(types: Types, inferred: pa.RecordBatch, *, grow: bool) -> tuple[str, str] | None:
    """Return the first column of a line that changes the types of all lines before it, and the change; else None."""
    for field in inferred.schema:
        kind = types.get(field.name)
        if depth_of(field.type) > MAX_DEPTH:
            return field.name, f"is nested deeper than {MAX_DEPTH} levels"
        if kind is not None and wider_inferred_type(kind, field.type, grow=grow) is not None:
            continue
        text = repr(inferred.column(field.name)[0].as_py())
        value = f"{shortened(text)} ({field.type})"
        return field.name, f"first appears here, as {value}" if kind is None else f"was {kind} and is {value} here"
    return None


def _type_error(name: str, line: int, types: Types, inferred: pa.RecordBatch, *, grow: bool) -> SourceTypeError:
    """Return the error for the first column of a line that changes the types of all lines before it."""
    change = type_change(types, inferred, grow=grow)
    if change is None:
        return SourceTypeError(f"{name}, line {line}: a value here does not fit its column", file=name, line=line)
    column, text = change
    is_deep = depth_of(inferred.schema.field(column).type) > MAX_DEPTH
    return SourceTypeError(
        f"{name}, line {line}: column {column!r} {text}",
        hint=f"{'keep it as text' if is_deep else 'give its type'}: {column_type_option(column)}",
        file=name,
        line=line,
        column=column,
        expected=None if is_deep or column not in types else str(types[column]),
    )
