"""Filter the rows of a batch by a condition, for every type that a column can have."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.acero as acero
import pyarrow.compute as pc

from millrace.arrow import filtered, run_values


def passing_rows(batch: pa.RecordBatch, condition: pc.Expression) -> Any:
    """Return the numbers of the rows for which ``condition`` is true, ascending, as a numpy array.

    ``Table.filter`` would also filter the tested columns. Arrow cannot filter text views and run-end encoded arrays,
    and it takes longer (2 ms instead of 0.5 for half of 200,000 rows).
    """
    if batch.num_columns:
        table = pa.table([_testable(column) for column in batch.columns], batch.schema.names)
    else:
        table = pa.table([pa.nulls(batch.num_rows)], [""])  # a table without columns has no row count
    source = acero.Declaration("table_source", acero.TableSourceNodeOptions(table))
    project = acero.Declaration("project", acero.ProjectNodeOptions([condition], ["passes"]), [source])
    # Without threads rows keep their order. Several chunks are read in parallel anyway.
    passes = project.to_table(use_threads=False).column(0)
    return np.flatnonzero(pc.fill_null(passes, fill_value=False).to_numpy())


def _testable(column: Any) -> pa.Array:
    """Return the same values in a type that Arrow can test.

    Arrow finds no nulls in run-end encoded arrays, and cannot cast a dictionary of views.
    """
    if pa.types.is_run_end_encoded(column.type):
        return run_values(column)
    if pa.types.is_dictionary(column.type):
        for view, copied in ((pa.string_view(), pa.string()), (pa.binary_view(), pa.binary())):
            if column.type.value_type.equals(view):
                return pa.DictionaryArray.from_arrays(column.indices, column.dictionary.cast(copied))
    return column


def only_rows(batch: pa.RecordBatch, rows: Any) -> pa.RecordBatch:
    """Return the batch with these rows only; ``rows`` ascend."""
    if not len(rows) or rows[-1] - rows[0] + 1 == len(rows):
        # No rows, all rows, or one range of rows, as in a sorted column: a slice, which copies nothing.
        return batch.slice(int(rows[0]) if len(rows) else 0, len(rows))
    mask = np.zeros(batch.num_rows, bool)
    mask[rows] = True
    try:
        return batch.filter(pa.array(mask))
    except pa.ArrowNotImplementedError:
        return pa.RecordBatch.from_arrays([filtered(column, mask) for column in batch.columns], schema=batch.schema)
