"""Damaged Parquet and Arrow files, each made from a seed, and the program that reads them one after another.

``python -m tests.unit.sources.mutations FORMAT FIRST LAST FOLDER`` prints a line before each seed, and one JSON object
after it with the outcome and the peak memory of the process up to then.
"""

from __future__ import annotations

import io
import json
import random
import re
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from millrace.chunks import ChunkSettings, RowGrouper, TileLayout, encode_row_group
from millrace.errors import MillraceError
from millrace.sources import SourceOptions, open_source, plan_source

ROWS = 300
WORDS = [None if i % 7 == 0 else f"wörd {i % 20}" for i in range(ROWS)]
NUMBERS = (0, -1, 1, 2**31 - 1, -(2**31), 2**62, -(2**62), 1_000_000, 65_536)


def _parquet_table() -> pa.Table:
    return pa.table(
        {
            "i": [None if i % 11 == 0 else i * 3 for i in range(ROWS)],
            "s": WORDS,
            "u": [f"unique text {i}" for i in range(ROWS)],
            "d": pa.array(WORDS).dictionary_encode(),
            "l": [[f"x{i}", None] * (i % 3) for i in range(ROWS)],
            "st": [{"a": i, "b": [f"y{i % 5}"]} for i in range(ROWS)],
            "m": pa.array([[(f"k{i % 4}", i)] for i in range(ROWS)], pa.map_(pa.string(), pa.int64())),
            "f": [i / 3 for i in range(ROWS)],
            "x": pa.array([b"abcd"] * ROWS, pa.binary(4)),
            "c": pa.array(range(ROWS)).cast(pa.decimal128(22, 2)),
            "t": pa.array(range(ROWS), pa.timestamp("us", "UTC")),
            "b": [i % 2 == 0 for i in range(ROWS)],
        }
    )


def _arrow_table() -> pa.Table:
    codes = pa.array([0, 1] * (ROWS // 2), pa.int8())
    places = pa.array([i // 2 for i in range(ROWS)], pa.int32())
    columns: dict[str, Any] = {
        "v": pa.array(WORDS, pa.string_view()),
        "ll": pa.array([[1, 2]] * ROWS, pa.large_list(pa.int8())),
        "fl": pa.array([[1, 2]] * ROWS, pa.list_(pa.int8(), 2)),
        "lv": pa.array([[1, 2]] * ROWS, pa.list_view(pa.int8())),
        "n": pa.nulls(ROWS),
        "r": pa.RunEndEncodedArray.from_arrays(pa.array([100, ROWS], pa.int32()), pa.array(["a", "b"])),
        "un": pa.UnionArray.from_dense(codes, places, [pa.array(range(ROWS)), pa.array(list(map(str, range(ROWS))))]),
    }
    table = _parquet_table()
    for name, column in columns.items():
        table = table.append_column(name, column)
    return table


def samples(format_: str) -> list[bytes]:
    """Return undamaged files of the format, with several versions, codecs and layouts."""
    made = []
    if format_ == "parquet":
        table = _parquet_table()
        for how in (
            {},
            {"compression": "none", "use_dictionary": False},
            {"compression": "zstd", "row_group_size": 100, "data_page_version": "2.0"},
            {"compression": "gzip", "version": "1.0", "store_schema": False},
            {"compression": "lz4", "use_deprecated_int96_timestamps": True, "write_page_index": True},
        ):
            sink = io.BytesIO()
            pq.write_table(table, sink, **how)
            made.append(sink.getvalue())
        return made
    table = _arrow_table()
    for make in (pa.ipc.new_file, pa.ipc.new_stream):
        for codec in (None, "zstd", "lz4"):
            sink = io.BytesIO()
            with make(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression=codec)) as writer:
                writer.write_table(table, max_chunksize=ROWS // 2)
            made.append(sink.getvalue())
    return made


def mutated(sample: bytes, rng: random.Random) -> bytes:
    """Return the file with bits or bytes changed, removed, copied, or replaced by integers or random bytes."""
    data, end = bytearray(sample), len(sample)

    def place() -> int:
        # The metadata is at the end.
        return rng.randrange(max(0, end - 4000), end) if rng.random() < 0.5 else rng.randrange(end)

    how = rng.randrange(6)
    if how == 0:
        for _ in range(rng.choice([1, 1, 2, 5, 20])):
            data[place()] ^= 1 << rng.randrange(8)
    elif how == 1:
        for _ in range(rng.choice([1, 1, 2, 5])):
            data[place()] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, 0xFE, rng.randrange(256)])
    elif how == 2:
        cut = rng.randrange(end)
        data = data[:cut] + (data[-8 - rng.randrange(100) :] if rng.random() < 0.5 else b"")
    elif how == 3:
        at, width = place(), rng.choice([1, 2, 4, 8])
        data[at : at + width] = (rng.choice(NUMBERS) & (2 ** (8 * width) - 1)).to_bytes(width, "little")
    elif how == 4:
        at, other, length = place(), place(), rng.randrange(1, 40)
        data[at : at + length] = data[other : other + length]
    else:
        at, length = place(), rng.randrange(1, 40)
        data[at : at + rng.choice([0, length])] = rng.randbytes(rng.choice([0, length]))
    return bytes(data)


def load(path: Path, format_: str) -> int:
    """Plan, read and encode the file as a load does, and return the number of rows."""
    settings = ChunkSettings(row_group_bytes=1_000_000)
    plan = plan_source(str(path), SourceOptions(format=format_))
    grouper, layout, rows = RowGrouper(settings), TileLayout.for_schema(plan.schema), 0
    with open_source(plan) as reader:
        groups = [group for batch in reader for group in grouper.feed(batch)]
    for group in [*groups, *grouper.finish()]:
        rows += group.num_rows
        encode_row_group(group, settings, layout)
    return rows


def _outcome(path: Path, format_: str) -> str:
    try:
        load(path, format_)
    except MillraceError as error:
        return "refused" if "\n" not in str(error) else f"of many lines: {error}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "loaded"


def main(format_: str, first: int, last: int, folder: Path) -> None:
    """Read the files of the seeds from ``first`` up to ``last``, exclusive."""
    files = samples(format_)
    for seed in range(first, last):
        rng = random.Random(seed)
        path = folder / f"damaged.{format_}"
        path.write_bytes(mutated(files[rng.randrange(len(files))], rng))
        print(seed, flush=True)
        outcome = _outcome(path, format_)
        peak = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
        peak_bytes = int(peak[1]) * 1024 if peak else 0
        print(json.dumps({"seed": seed, "outcome": outcome, "peak_bytes": peak_bytes}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
