"""Select columns by name, and rows of batches by number or by a condition."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from millrace.dataset.filters.rows import only_rows, passing_rows
from millrace.errors import UsageError
from millrace.names import listed_columns
from millrace.store import Version


def column_indices(columns: Sequence[str], schema: pa.Schema, version: Version) -> list[int]:
    """Return the index of each column in the version's schema.

    Raises ``UsageError`` unless exactly one column has each name.
    """
    counts = Counter(schema.names)
    for column in columns:
        if counts[column] != 1:
            raise UsageError(
                f"{version.reference} has {'more than one' if counts[column] else 'no'} column {column!r}",
                hint=f"its columns are {listed_columns(schema.names)}",
                dataset=version.dataset,
            )
    return [schema.get_field_index(column) for column in columns]


def first_rows(batches: Generator[pa.RecordBatch, None, None], num_rows: int) -> Iterator[pa.RecordBatch]:
    """Yield the first ``num_rows`` rows, and close ``batches`` before the last of them is yielded."""
    while num_rows > 0 and (batch := next(batches, None)) is not None:
        rows = batch.slice(0, num_rows)
        num_rows -= batch.num_rows
        if num_rows <= 0:
            batches.close()  # ends the read also if the caller asks for no further batch
        yield rows


def filtered_batches(
    batches: Iterator[pa.RecordBatch], condition: pc.Expression, columns: Sequence[str] | None
) -> Iterator[pa.RecordBatch]:
    """Yield the rows for which the condition is true, with these columns (None: all); leave out empty batches."""
    for batch in batches:
        rows = only_rows(batch, passing_rows(batch, condition))
        if rows.num_rows:
            yield rows if columns is None else rows.select(list(columns))
