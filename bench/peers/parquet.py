"""pyarrow and gzip Parquet on the local disk, in the page cache, threads on: the peer without a database."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from bench.data import flights_options

__all__ = ["CsvToParquet", "ParquetRead", "write_parquet"]

_CODEC: dict[str, Any] = {"compression": "gzip", "compression_level": 1}
_WRITTEN = "gzip level 1, pyarrow's row groups, page size and dictionaries, the file in the page cache"


def write_parquet(table: pa.Table, path: Path) -> None:
    """Write the table as Parquet, gzip level 1, pyarrow's own defaults otherwise."""
    pq.write_table(table, path, **_CODEC)


class CsvToParquet:
    """A contestant that converts CSV to Parquet, with the ``whole`` table in memory or batch by batch."""

    def __init__(self, source: str, target: str, whole: bool) -> None:
        self._source, self._target, self._whole = source, Path(target), whole

    def run(self) -> dict[str, Any]:
        """Convert once; the file is deleted after the time was taken."""
        began = time.perf_counter()
        if self._whole:
            table = pc.read_csv(self._source, convert_options=flights_options())
            write_parquet(table, self._target)
            rows = table.num_rows
        else:
            rows = 0
            with (
                pc.open_csv(self._source, convert_options=flights_options()) as reader,
                pq.ParquetWriter(self._target, reader.schema, **_CODEC) as writer,
            ):
                for batch in reader:
                    writer.write_batch(batch, row_group_size=1 << 20)
                    rows += batch.num_rows
        seconds = time.perf_counter() - began
        size = self._target.stat().st_size
        self._target.unlink()
        return {"rows": rows, "seconds": seconds, "stored_bytes": size}

    def profile(self) -> dict[str, Any]:
        """Do the same as ``run``."""
        return self.run()

    def close(self) -> None:
        """Delete the file that an interrupted run left."""
        self._target.unlink(missing_ok=True)


class ParquetRead:
    """A contestant that reads a Parquet file to a table: whole, some columns, or the rows with ``column < value``.

    The value of a timestamp is in seconds since 1970.
    """

    configuration = (_WRITTEN, "read_table with threads and no memory map")

    def __init__(self, path: str, columns: list[str] | None = None, below: list[Any] | None = None) -> None:
        self._path, self._columns = path, columns
        self._filter = None
        if below is not None:
            kind = pq.read_schema(path).field(below[0]).type
            value = pa.scalar(below[1], pa.int64())
            if pa.types.is_timestamp(kind):  # Parquet has no timestamps in seconds
                value = value.cast(pa.timestamp("s", kind.tz))
            self._filter = ds.field(below[0]) < value.cast(kind)

    def run(self) -> dict[str, Any]:
        """Read once, with threads."""
        table = pq.read_table(self._path, columns=self._columns, filters=self._filter, use_threads=True)
        return {"rows": table.num_rows, "arrow_bytes": table.nbytes}

    def profile(self) -> dict[str, Any]:
        """Do the same as ``run``."""
        return self.run()

    def close(self) -> None:
        """Do nothing: there is no resource to release."""
