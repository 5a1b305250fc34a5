"""Compare read rows with loaded rows, where a load repeats its source and may be cut off anywhere."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from millrace import connect
from millrace.errors import StackError

__all__ = ["Whole", "repeats", "table_of"]


class Whole:
    """A reader of the latest version that compares every row with the source.

    The version repeats the source and may be cut off anywhere.
    """

    def __init__(self, dataset: str, source: str) -> None:
        self._dataset = dataset
        self._expected = table_of(source)
        self._store = connect()

    def run(self) -> dict[str, Any]:
        """Read once; raise ``StackError`` for the first rows that differ, or if rows are missing."""
        dataset, at = self._store.dataset(self._dataset), 0
        for batch in dataset.to_batches():
            if not repeats(self._expected, batch, at):
                raise StackError(f"rows {at:,} and on of {self._dataset} differ from the loaded rows")
            at += batch.num_rows
        if at != dataset.count_rows():
            raise StackError(f"{self._dataset} has {at:,} rows, and its version says {dataset.count_rows():,}")
        return {"rows": at, "version": dataset.version.label}

    def profile(self) -> dict[str, Any]:
        """Do the same as ``run``."""
        return self.run()

    def close(self) -> None:
        """Disconnect."""
        self._store.close()


def repeats(expected: pa.Table, batch: pa.RecordBatch, at: int) -> bool:
    """Return whether the batch, which begins at row ``at``, has the rows of ``expected`` repeated."""
    done = 0
    while done < batch.num_rows:
        start = (at + done) % expected.num_rows
        piece = batch.slice(done, expected.num_rows - start)
        if not pa.Table.from_batches([piece]).equals(expected.slice(start, piece.num_rows)):
            return False
        done += piece.num_rows
    return True


def table_of(path: str) -> pa.Table:
    """Return an Arrow file as a table that is mapped from the disk."""
    with pa.memory_map(path) as source:
        return pa.ipc.open_file(source).read_all()
