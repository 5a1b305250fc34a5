"""Memory use does not grow with the source: measured in a separate process, against the baseline of that process."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

PROGRAM = """
import json, os, sys
# Memory grows with the threads, so they are the same on every machine.
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
os.environ["OMP_NUM_THREADS"] = "2"
from millrace.sources import SourceOptions, open_source, plan_source
import numpy
def peak():
    # Not ru_maxrss: that begins with what the parent had.
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
def load(path, **options):
    with open_source(plan_source(path, SourceOptions(**options), max_splits=1)) as reader:
        return sum(batch.num_rows for batch in reader)
options = json.loads(sys.argv[3])
load(sys.argv[2], **options)
before = peak()
rows = load(sys.argv[1], **options)
print(json.dumps({"rows": rows, "grown": peak() - before}))
"""


def grown(path: Path, small: Path, **options: str) -> dict[str, int]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(path), str(small), json.dumps(options)],
        capture_output=True,
        timeout=250,
        check=True,
        cwd=Path(__file__).parents[3],
    )
    measured: dict[str, int] = json.loads(done.stdout)
    return measured


def write_csv(path: Path, rows: int) -> None:
    line = b'1234567,2026-11-22 10:00:00,"quoted, text",0.123456789,another word that is longer than others\n'
    path.write_bytes(b"a,b,c,d,e\n" + line * rows)


def write_gzip(path: Path, rows: int) -> None:
    line = b'1234567,2026-11-22 10:00:00,"quoted, text",0.123456789,another word that is longer than others\n'
    path.write_bytes(gzip.compress(b"a,b,c,d,e\n" + line * rows, 1))


def write_jsonl(path: Path, rows: int) -> None:
    path.write_bytes(b'{"a":1234567,"b":"some words in a line","c":[1,2,3],"d":0.123456789,"e":null}\n' * rows)


def write_document(path: Path, rows: int) -> None:
    row = '{"a":1234567,"b":"some words 😀 in a line","c":[1,2,3],"d":0.123456789,"e":null}'
    path.write_text(f'{{"items": [{", ".join([row] * rows)}]}}')


def table_of(rows: int) -> pa.Table:
    return pa.table({"a": np.arange(rows), "b": pa.repeat("some words in a line", rows), "c": np.full(rows, 0.5)})


def write_parquet(path: Path, rows: int) -> None:
    pq.write_table(table_of(rows), path, row_group_size=200_000)


def write_arrow(path: Path, rows: int) -> None:
    table = table_of(rows)
    with pa.ipc.new_file(path, table.schema) as writer:
        writer.write_table(table, max_chunksize=200_000)


def write_bytes(path: Path, rows: int) -> None:
    path.write_bytes(bytes(100 * rows))


@pytest.mark.parametrize(
    ("name", "write", "rows", "limit_bytes"),
    [
        ("a.csv", write_csv, 1_100_000, 100_000_000),
        ("a.csv.gz", write_gzip, 1_100_000, 100_000_000),
        ("a.jsonl", write_jsonl, 1_100_000, 100_000_000),
        ("a.parquet", write_parquet, 3_500_000, 110_000_000),
        ("a.arrow", write_arrow, 1_500_000, 40_000_000),
        ("a.bin", write_bytes, 1_000_000, 40_000_000),
    ],
)
def test_a_large_source_is_read_in_bounded_memory(
    tmp_path: Path, name: str, write: Callable[[Path, int], None], rows: int, limit_bytes: int
) -> None:
    (tmp_path / "small").mkdir()
    write(tmp_path / name, rows)
    write(tmp_path / "small" / name, 100)
    measured = grown(tmp_path / name, tmp_path / "small" / name)
    assert measured["rows"] == (rows // 10_000 if name == "a.bin" else rows)
    assert measured["grown"] < limit_bytes


def test_a_json_document_of_the_largest_size_is_read_in_bounded_memory(tmp_path: Path) -> None:
    (tmp_path / "small").mkdir()
    write_document(tmp_path / "a.json", 740_000)
    write_document(tmp_path / "small" / "a.json", 100)
    assert 62_000_000 < (tmp_path / "a.json").stat().st_size <= 64_000_000
    measured = grown(tmp_path / "a.json", tmp_path / "small" / "a.json", format="json", records="items")
    assert measured["rows"] == 740_000
    assert measured["grown"] < 180_000_000  # of which 64 MB are the document


def write_wide_csv(path: Path, columns: int) -> None:
    path.write_text(",".join(f"c{number}" for number in range(columns)) + "\n" + ",".join("1" * columns) + "\n")


def write_one_object(path: Path, keys: int) -> None:
    path.write_text(json.dumps({f"c{number}": 1 for number in range(keys)}) + "\n")


def write_sparse(path: Path, lines: int) -> None:
    path.write_text("".join(f'{{"m":{{"u{number}":{number}}}}}\n' for number in range(lines)))


@pytest.mark.parametrize(
    ("name", "write", "size", "rows", "limit_bytes"),
    [
        # Without groups of columns the first takes 230 MB. Without pieces of blocks the last takes more than 200 MB.
        ("a.csv", write_wide_csv, 12_000, 1, 190_000_000),
        ("a.json", write_one_object, 12_000, 1, 120_000_000),
        ("a.jsonl", write_sparse, 2_000, 2_000, 130_000_000),
    ],
)
def test_very_many_columns_or_keys_need_bounded_memory(
    tmp_path: Path, name: str, write: Callable[[Path, int], None], size: int, rows: int, limit_bytes: int
) -> None:
    (tmp_path / "small").mkdir()
    write(tmp_path / name, size)
    write(tmp_path / "small" / name, 10)
    measured = grown(tmp_path / name, tmp_path / "small" / name)
    assert measured["rows"] == rows
    assert measured["grown"] < limit_bytes
