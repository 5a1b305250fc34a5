"""Search for all JSON lines of a block that are wrong like the line that an error names, without parsing each.

pyarrow gives up a whole block for one line, and each further call takes a millisecond. So a pattern finds the lines
with a value of another kind in the same column, and Python's parser confirms them. Other lines are left for a search.
"""

from __future__ import annotations

import json
import re
from collections.abc import Container, Iterator
from typing import Any, Final

import numpy as np
import pyarrow as pa

from millrace.display import shortened
from millrace.sources.jsonl.parser import NOT_ONE_OBJECT
from millrace.sources.text.misfits import Misfit, Records
from millrace.sources.text.row_separator import Types

_CHANGE: Final = re.compile(r"Column\(/([^/]+)\) changed from (?:boolean|number|string) to ")
_VALUE: Final = re.compile(r"couldn't parse:(.+)$", re.DOTALL)
_KEY: Final = rb'"%s"[ \t]*:[ \t]*'
_BEGINNINGS: Final = {"number": rb'["tf\[{]', "boolean": rb'["\-0-9NI\[{]', "string": rb"[\-0-9tfNI\[{]"}
"""The first characters of values that are neither null nor of the kind."""
_FRACTION: Final = rb"-?[0-9]+[.eE]"


def lines_alike(
    records: Records, types: Types, message: str, *, given: Container[str], may_widen: bool
) -> list[Misfit]:
    """Return lines that certainly do not fit, and if possible all those like the one that the error ``message`` names.

    ``records`` are not blank. Columns with a ``given`` type do not widen; as text they hold any value. With
    ``may_widen`` other columns of integers may become doubles. An empty list says nothing about the lines.
    """
    if rows := sorted(records.not_utf8()):
        return [Misfit(row, "", "invalid UTF-8", is_value=False) for row in rows]
    data = records.part(0, len(records)).data
    begins = np.concatenate([[0], np.cumsum(records.stops - records.starts)])
    if broken := list(_no_objects(data, begins)):
        return [Misfit(int(records.numbers[row]), "", NOT_ONE_OBJECT, is_value=False) for row in broken]
    values = _Values(types, given, may_widen=may_widen)
    column = values.column_named(data, begins, message)
    if column is None:
        return []
    offsets = [match.start() for match in re.finditer(values.pattern(column), data)]
    rows_of_matches = np.unique(np.searchsorted(begins, offsets, side="right") - 1).tolist()
    misfits = ((row, values.first_misfit(_line(data, begins, row))) for row in rows_of_matches)
    return [Misfit(int(records.numbers[row]), *misfit, is_value=True) for row, misfit in misfits if misfit is not None]


def offset_named(data: bytes, message: str) -> int | None:
    """Return the first offset of the value that an error names; None if it names none, or one that is not there."""
    value = _VALUE.search(message)
    offset = -1 if value is None else data.find(value[1].encode())
    return None if offset < 0 else offset


class _Values:
    """The columns of numbers, booleans and text, whose kinds of values in JSON are known."""

    def __init__(self, types: Types, given: Container[str], *, may_widen: bool) -> None:
        self._types = types
        self._kinds = {
            name: kind
            for name, type_ in types.items()
            if (kind := _kind_of_type(type_)) and not (kind == "string" and name in given)
        }
        self._integers = {
            name for name, type_ in types.items() if pa.types.is_integer(type_) and (name in given or not may_widen)
        }

    def column_named(self, data: bytes, begins: Any, message: str) -> str | None:
        """Return the column that an error names, or that has the value that it names."""
        if (change := _CHANGE.search(message)) and change[1] in self._kinds:
            return change[1]
        offset = offset_named(data, message)
        if offset is None:
            return None
        misfit = self.first_misfit(_line(data, begins, int(np.searchsorted(begins, offset, side="right")) - 1))
        return None if misfit is None else misfit[0]

    def pattern(self, column: str) -> bytes:
        """Return a pattern of the key with values that may not fit."""
        beginnings = _BEGINNINGS[self._kinds[column]]
        unlike = b"(?:%s|%s)" % (beginnings, _FRACTION) if column in self._integers else beginnings
        return _KEY % re.escape(json.dumps(column, ensure_ascii=False).encode()[1:-1]) + unlike

    def first_misfit(self, line: bytes) -> tuple[str, str] | None:
        """Return the first column of a line with a value that certainly does not fit, and the reason."""
        try:
            values = json.loads(line)
        except (ValueError, RecursionError):
            return None
        for name, value in values.items() if isinstance(values, dict) else ():
            kind = self._kinds.get(name)
            is_unlike = kind is not None and value is not None and _kind_of_value(value) != kind
            if is_unlike or (name in self._integers and isinstance(value, float)):
                return name, f"{shortened(json.dumps(value))} is not {self._types[name]}"
        return None


def _kind_of_type(kind: pa.DataType) -> str | None:
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return "number"
    if pa.types.is_boolean(kind):
        return "boolean"
    return "string" if pa.types.is_string(kind) else None


def _kind_of_value(value: object) -> str:
    if isinstance(value, bool):
        return "boolean"
    return "number" if isinstance(value, int | float) else "string" if isinstance(value, str) else "nested"


def _no_objects(data: bytes, begins: Any) -> Iterator[int]:
    """Yield the lines that do not begin and end with the brackets of an object."""
    codes = np.frombuffer(data, dtype=np.uint8)
    last = begins[1:] - 1 - (codes[begins[1:] - 1] == ord("\n"))
    doubtful = (codes[begins[:-1]] != ord("{")) | (codes[last] != ord("}"))
    for row in np.flatnonzero(doubtful).tolist():
        line = _line(data, begins, row).strip()
        if not (line.startswith(b"{") and line.endswith(b"}")):
            yield row


def _line(data: bytes, begins: Any, row: int) -> bytes:
    return data[begins[row] : begins[row + 1]]
