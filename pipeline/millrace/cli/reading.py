"""Write the rows or the files of a version to a file, a folder or standard output."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from millrace.cli.options import STANDARD_OUTPUT
from millrace.dataset import Dataset, column_indices, export, format_of
from millrace.errors import UsageError
from millrace.progress import ProgressTask
from millrace.sources import restore_bytes


@dataclass(frozen=True, slots=True)
class Reading:
    """One pass over a part of a dataset: columns (None: all), the filter's text, at most ``head`` rows, one split.

    ``task`` counts the rows.
    """

    dataset: Dataset
    columns: Sequence[str] | None
    filter: str | None
    head: int | None
    task: ProgressTask
    split: str | None = None

    @property
    def schema(self) -> pa.Schema:
        """Return the schema of every batch; raise ``UsageError`` for a column that does not exist."""
        schema = self.dataset.schema
        if self.columns is None:
            return schema
        indices = column_indices(self.columns, schema, self.dataset.version)
        return pa.schema([schema.field(index) for index in indices], schema.metadata)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Return the batches; a wrong filter is refused at once, and reading starts with the first batch."""
        return self._counted(self._read())

    def _read(self) -> Iterator[pa.RecordBatch]:
        return self.dataset.to_batches(self.columns, self.filter, num_rows=self.head, split=self.split)

    def _counted(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield batch
            self.task.advance(batch.num_rows)


def export_rows(reading: Reading, output: str, format_: str | None) -> tuple[int, int]:
    """Write the rows as ``format_`` or as the name of ``output`` says; return the number of rows and of bytes."""
    chosen, compression = format_of(output, format_)
    exported = export(reading.batches(), reading.schema, output, chosen, compression)
    return exported.rows, exported.file_bytes


def restore_files(reading: Reading, output: str, *, force: bool) -> tuple[int, int]:
    """Write the bytes of a version back as files; return the number of rows and of bytes."""
    version = reading.dataset.version
    if (reading.columns, reading.filter, reading.head, reading.split) != (None, None, None, None):
        raise UsageError(
            f"{version.reference} is a dataset of files, which are written unchanged",
            hint="--columns, --filter, --head and --split need --format, which writes their rows",
        )
    # An append to existing data makes at least two files, and a merge does not record its source.
    is_first = version.mode == "replace" or version.parent is None
    is_single_file = is_first and bool(version.source.get("single_file"))
    if output != STANDARD_OUTPUT:
        _, size_bytes = restore_bytes(reading.batches(), Path(output), single=is_single_file, replace=force)
        return version.rows, size_bytes
    if not is_single_file:
        raise UsageError(
            f"{version.reference} contains a folder or several files", hint="give --output the name of a new folder"
        )
    pieces = (piece for batch in reading.batches() for piece in batch.column("data"))
    size_bytes = sum(sys.stdout.buffer.write(piece.as_buffer()) for piece in pieces)
    sys.stdout.buffer.flush()
    return version.rows, size_bytes
