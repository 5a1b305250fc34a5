"""Hand a dataset to polars and to DuckDB by Arrow's C stream, without a copy of the whole dataset in Python.

python examples/read_into_polars_and_duckdb.py flights_example
"""

from __future__ import annotations

import sys

import duckdb
import polars as pl
import pyarrow as pa

from millrace import connect


def main(name: str) -> None:
    with connect() as store:
        flights = store.dataset(name)
        frame = pl.DataFrame(flights)  # polars reads the stream of record batches
        print(frame.group_by("carrier").agg(pl.col("arr_delay").mean()).sort("carrier").head())

        # DuckDB pulls one batch after another, so the dataset may be larger than memory.
        stream = pa.RecordBatchReader.from_stream(flights)
        print(duckdb.sql("SELECT month, count(*) AS rows FROM stream GROUP BY month ORDER BY month").fetchall())


if __name__ == "__main__":
    main(sys.argv[1])
