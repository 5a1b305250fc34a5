"""Rows of Parquet and Arrow files with a contract: those that do not fit are set aside, or their values become null."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from millrace.arrow import BYTES, filtered, holds
from millrace.display import shortened
from millrace.errors import SourceTypeError
from millrace.sources.fitting import fitted
from millrace.sources.model import SourcePlan
from millrace.sources.reject_log import RejectLog, raw_text
from millrace.sources.row_rules import NEW_COLUMN_REASON, Reaction, Reject, RejectKind

_KINDS: Final = {
    Reaction.DISCARD_ROW: RejectKind.DISCARDED_ROW,
    Reaction.DISCARD_VALUE: RejectKind.DISCARDED_VALUE,
}


class _Misfits(NamedTuple):
    """The rows of a batch, by number, in which a column does not fit."""

    rows: Any
    column: str
    expected: str
    kind: RejectKind


class ContractRows:
    """The rows of one file that fit the agreed columns of a plan; the others are added to ``log``.

    ``first_row`` returns the number of rows of the file before the first batch.
    """

    def __init__(self, plan: SourcePlan, file: str, log: RejectLog, first_row: Callable[[], int]) -> None:
        schema = plan.source_schema
        self._rules = plan.rules
        # A value that a wider type does not hold exactly is a bad row, also if types evolve.
        agreed = _KINDS.get(plan.rules.types or Reaction.EVOLVE, RejectKind.BAD)
        self._fields = [(field, agreed if at < plan.agreed else RejectKind.BAD) for at, field in enumerate(schema)]
        self._selected = None if plan.options.columns is None else frozenset(plan.options.columns)
        self._planned = frozenset(schema.names)
        self._file = file
        self._log = log
        self._first_row = first_row
        self._rows = 0

    def fitting(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return the rows that fit, in their order, with values of the agreed types.

        Raises ``SourceTypeError`` for the first bad row if no row may be set aside, and ``BadRowsError`` where the bad
        rows exceed the budget's number of rows.
        """
        if self._rules.columns is None:
            return batch
        start, self._rows = self._rows, self._rows + batch.num_rows
        misfits = list(self._new_values(batch))
        fitting, unfit = self._agreed_values(batch)
        misfits += unfit
        if not misfits:
            return fitting
        dropped = [one for one in misfits if one.kind is not RejectKind.DISCARDED_VALUE]
        keep = np.ones(batch.num_rows, bool)
        for one in dropped:
            keep[one.rows] = False
        self._set_aside(batch, start, misfits, keep)
        if not dropped:
            return fitting
        columns = [filtered(column, keep) for column in fitting.columns]
        return pa.RecordBatch.from_arrays(columns, schema=fitting.schema)

    def _new_values(self, batch: pa.RecordBatch) -> Iterator[_Misfits]:
        """Yield the rows with a value in a new column if they are dropped; only count values that are left out."""
        if self._rules.columns not in (Reaction.DISCARD_ROW, Reaction.DISCARD_VALUE):
            return
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            if name in self._planned or (self._selected is not None and name not in self._selected):
                continue
            rows = _true(pc.is_valid(column))
            if self._rules.columns is Reaction.DISCARD_VALUE:
                self._log.counts[RejectKind.DISCARDED_VALUE] += len(rows)
            elif len(rows):
                yield _Misfits(rows, name, NEW_COLUMN_REASON, RejectKind.DISCARDED_ROW)

    def _agreed_values(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, list[_Misfits]]:
        """Return the batch with values of the agreed types, null where they do not fit, and the rows of these."""
        misfits = []
        for field, kind in self._fields:
            index = batch.schema.get_field_index(field.name)
            if index < 0:
                continue
            column = batch.column(index)
            values, rows = fitted(column, field.type)
            if len(rows):
                misfits.append(_Misfits(rows, field.name, f"it is not {field.type}", kind))
            if not field.nullable and column.null_count:
                misfits.append(_Misfits(_true(column.is_null()), field.name, "it is null", kind))
            batch = batch.set_column(index, batch.schema.field(index).with_type(values.type), values)
        return batch, misfits

    def _set_aside(self, batch: pa.RecordBatch, start: int, misfits: list[_Misfits], keep: Any) -> None:
        """Add the rows that are dropped, each once, and the values that become null in the others."""
        reasons: dict[int, list[_Misfits]] = {}
        for one in misfits:
            for row in one.rows.tolist():
                of_row = reasons.setdefault(row, [])
                # A row that is dropped has one reason.
                if keep[row] or (one.kind is not RejectKind.DISCARDED_VALUE and not of_row):
                    of_row.append(one)
        rows = sorted(row for row, of_row in reasons.items() if of_row)
        start += self._first_row() + 1
        for row in rows:
            text, is_complete = _raw(batch.slice(row, 1))
            for one in reasons[row]:
                value = batch.column(one.column)[row]
                reason = f"{shortened(str(value))} ({value.type}): {one.expected}"
                if one.kind is RejectKind.BAD and not self._rules.sets_aside:
                    raise self._refusal(start + row, one, reason)
                self._log.add(Reject(self._file, start + row, one.column, reason, text, one.kind, is_complete))

    def _refusal(self, row: int, misfits: _Misfits, reason: str) -> SourceTypeError:
        return SourceTypeError(
            f"{self._file}, row {row:,}: column {misfits.column!r}: {reason}",
            hint="correct the value, or allow bad rows with --max-bad-rows (max_bad_rows of a declared source); with "
            "the contract types: evolve a type may become wider",
            file=self._file,
            column=misfits.column,
        )


def _true(mask: pa.Array) -> Any:
    return np.flatnonzero(mask.to_numpy(zero_copy_only=False))


def _raw(row: pa.RecordBatch) -> tuple[str, bool]:
    """Return a row as JSON for a reject, and whether the row can be read from it again; JSON has no bytes."""
    try:
        text, is_complete = raw_text(json.dumps(row.to_pylist()[0], default=str, ensure_ascii=False).encode())
    except (ValueError, OverflowError):  # a date that Python's calendar does not have
        return "", False
    has_bytes = any(not column.null_count and holds(column.type, _is_bytes) for column in row.columns)
    return text, is_complete and not has_bytes


def _is_bytes(kind: pa.DataType) -> bool:
    return kind in BYTES or bool(pa.types.is_fixed_size_binary(kind))
