"""The rows and values that one read of a source sets aside, as Arrow batches of bounded size."""

from __future__ import annotations

from collections import Counter
from typing import Final, Protocol

import pyarrow as pa

from millrace.errors import BadRowsError
from millrace.sources.row_rules import Reject, RejectKind, RowRules

REJECT_SCHEMA: Final = pa.schema(
    [
        ("file", pa.string()),
        ("line", pa.int64()),
        ("column", pa.string()),
        ("reason", pa.string()),
        ("raw", pa.string()),
        ("kind", pa.string()),
        ("is_complete", pa.bool_()),
    ]
)
"""The columns of a dataset of rejects: the fields of ``Reject``."""
RAW_BYTES_MAX: Final = 65_536
"""Largest number of bytes of one row that are kept."""
REJECTS_BYTES_MAX: Final = 64_000_000
"""Largest size of all rejects of one load, with their reasons; further ones are only counted."""
_REASONS_MAX: Final = 10
_BATCH_ROWS: Final = 10_000


class RejectOrigins(Protocol):
    """The places from which the rows of a replay come: files and lines of the source that was loaded first."""

    def of(self, reject: Reject) -> Reject:
        """Return the reject with the file, the line and the kind of the row in its first source."""


class RejectLog:
    """The rejects of one read, in the order of its rows.

    ``bytes_max`` bounds their size; rejects beyond it are counted in ``unstored``. ``header`` has the columns of each
    text file with a reject, in the order of the file. ``reasons`` has the first ten bad rows, and in a replay the first
    ten of all rows that do not fit. Not safe for several threads. A preview has no limit of rows (``is_limited``).
    """

    def __init__(self, rules: RowRules, *, bytes_max: int = REJECTS_BYTES_MAX, is_limited: bool = True) -> None:
        self.rules = rules
        self.counts: Counter[RejectKind] = Counter()
        self.unstored = 0
        self.reasons: list[str] = []
        self.headers: dict[str, tuple[str, ...]] = {}
        self.origins: RejectOrigins | None = None
        self._bytes_left = bytes_max
        self._rows_max = rules.budget.rows if is_limited else None
        self._rows: list[Reject] = []
        self._batches: list[pa.RecordBatch] = []

    def add(self, reject: Reject) -> None:
        """Add a reject, and raise ``BadRowsError`` if there are more bad rows than the budget's number of rows."""
        reject = reject if self.origins is None else self.origins.of(reject)
        self.counts[reject.kind] += 1
        is_reason = reject.kind is RejectKind.BAD or self.origins is not None
        if is_reason and len(self.reasons) < _REASONS_MAX:
            self.reasons.append(_sentence(reject))
        self._keep(reject)
        if self._rows_max is not None and self.counts[RejectKind.BAD] > self._rows_max:
            raise over_budget(self.counts[RejectKind.BAD], None, self.rules, self.reasons)

    def _keep(self, reject: Reject) -> None:
        size = sum(len(text.encode()) for text in (reject.file, reject.column, reject.reason, reject.raw))
        if size > self._bytes_left:
            self.unstored += 1
            return
        self._bytes_left -= size
        self._rows.append(reject)
        if len(self._rows) >= _BATCH_ROWS:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            columns = [
                pa.array(values, field.type)
                for values, field in zip(zip(*self._rows, strict=True), REJECT_SCHEMA, strict=True)
            ]
            self._batches.append(pa.RecordBatch.from_arrays(columns, schema=REJECT_SCHEMA))
            self._rows = []

    def take(self) -> list[pa.RecordBatch]:
        """Return the rejects since the previous call."""
        self._flush()
        batches, self._batches = self._batches, []
        return batches


def raw_text(record: bytes) -> tuple[str, bool]:
    """Return the text of a record for a reject, and whether it is complete and exact."""
    record = record.rstrip(b"\r\n")
    part = record[:RAW_BYTES_MAX]
    try:
        return part.decode(), len(part) == len(record)
    except UnicodeDecodeError:
        text = part.decode("utf-8", "backslashreplace")
        return text.encode()[:RAW_BYTES_MAX].decode("utf-8", "ignore"), False


def over_budget(bad: int, rows: int | None, rules: RowRules, reasons: list[str]) -> BadRowsError:
    """Return the error for this many bad rows; ``rows`` is the number of all rows, None where it is not known."""
    total = "" if rows is None else f" of {rows:,}"
    number = f"{bad:,} bad row{'s' * (bad != 1)}{total}" if rows is not None else f"more than {bad - 1:,} bad rows"
    return BadRowsError(
        f"{number}, and the budget is {rules.budget}; the first: {'; '.join(reasons)}",
        hint="correct the rows or their types, or allow more with --max-bad-rows",
        budget=str(rules.budget),
        actual=bad,
        reasons=reasons,
    )


def _sentence(reject: Reject) -> str:
    column = f"column {reject.column!r}: " if reject.column else ""
    return f"{reject.file}, line {reject.line}: {column}{reject.reason}"
