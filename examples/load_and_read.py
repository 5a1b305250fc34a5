"""Load a CSV as a new version of a dataset, and read some of it back.

python examples/load_and_read.py flights.csv
"""

from __future__ import annotations

import sys

import pyarrow.compute as pc

from millrace import connect


def main(source: str) -> None:
    with connect() as store:  # settings: MILLRACE_* variables, millrace.toml, or the local stack of this checkout
        report = store.load("flights_example", source)
        print(f"{report.dataset}@{report.version}: {report.rows:,} rows in {report.chunks} chunks")

        flights = store.dataset("flights_example")
        print(flights.schema)
        july = flights.to_table(columns=["carrier", "arr_delay"], filter=pc.field("month") == 7)
        print(f"{july.num_rows:,} of {flights.count_rows():,} rows are of July")


if __name__ == "__main__":
    main(sys.argv[1])
