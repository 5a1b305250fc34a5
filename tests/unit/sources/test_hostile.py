"""Damaged and hostile Parquet and Arrow files are refused with one clear error, in bounded memory."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from millrace.arrow.sizes import cumulative_row_bytes
from millrace.errors import SourceCorruptError, SourceFormatError, SourceTooLargeError
from millrace.sources import SourceOptions, open_source, plan_source
from millrace.sources.arrow.ipc_messages import RECORD_BATCH, Message, check_size

SEEDS = 300
MEMORY_BYTES = 400_000_000
ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("format_", ["parquet", "arrow"])
def test_hundreds_of_damaged_files_are_loaded_or_refused_in_one_line(tmp_path: Path, format_: str) -> None:
    asked = [sys.executable, "-m", "tests.unit.sources.mutations", format_, "0", str(SEEDS), str(tmp_path)]
    done = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, timeout=550, check=False)
    lines = done.stdout.splitlines()
    assert done.returncode == 0, f"seed {lines[-1] if lines else '?'}: {done.stderr[-1000:]}"
    results = [json.loads(line) for line in lines if line.startswith("{")]
    assert len(results) == SEEDS
    assert [result for result in results if result["outcome"] not in ("loaded", "refused")] == []
    assert max(result["peak_bytes"] for result in results) < MEMORY_BYTES
    outcomes = Counter(result["outcome"] for result in results)
    assert min(outcomes["loaded"], outcomes["refused"]) > SEEDS // 20


def written(path: Path, *batches: pa.RecordBatch, **options: Any) -> Path:
    with pa.ipc.new_file(path, batches[0].schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return path


def read(path: Path) -> pa.Table:
    plan = plan_source(str(path))
    with open_source(plan) as reader:
        return pa.Table.from_batches(list(reader), plan.schema)


def patched(path: Path, old: bytes, new: bytes) -> Path:
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new))
    return path


def as_long(value: int) -> bytes:
    return value.to_bytes(8, "little", signed=True)


@pytest.mark.parametrize("rows", [2**31, 2**40, 2**62])
def test_an_array_longer_than_the_format_allows_is_refused_by_its_length(tmp_path: Path, rows: int) -> None:
    path = written(tmp_path / "nulls.arrow", pa.record_batch([pa.nulls(7_654_321)], ["n"]))
    patched(path, as_long(7_654_321), as_long(rows))
    with pytest.raises(SourceTooLargeError, match=rf"nulls\.arrow: .* an array of {rows:,} values; at most"):
        plan_source(str(path))


def test_an_array_of_negative_length_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "nulls.arrow", pa.record_batch([pa.nulls(7_654_321)], ["n"]))
    patched(path, as_long(7_654_321), as_long(-1))
    with pytest.raises(SourceCorruptError, match=r"nulls\.arrow is damaged Arrow data"):
        plan_source(str(path))


@pytest.mark.parametrize("buffer", [(-8, 16), (0, 101), (96, 8), (0, -1), (2**62, 2**62)])
def test_a_buffer_outside_of_its_message_is_refused(buffer: tuple[int, int]) -> None:
    message = Message(0, b"", RECORD_BATCH, 100, 1, 1, ((0, 8), buffer))
    with pytest.raises(SourceCorruptError, match=r"x\.arrow is damaged Arrow data: a buffer outside of its message"):
        check_size(message, lambda at, size: bytes(size), 1000, "x.arrow", "record batch 0")


def test_a_list_of_billions_of_nulls_is_measured_without_counting_each(tmp_path: Path) -> None:
    offsets = pa.py_buffer(np.array([0, 2**31 - 1], np.int32))
    kind = pa.list_(pa.null())
    lists = pa.Array.from_buffers(kind, 1, [None, offsets], children=[pa.nulls(2**31 - 1)])
    batch = pa.record_batch([lists], ["n"])
    assert cumulative_row_bytes(batch).tolist() == [0, 8 + 8 * (2**31 - 1)]
    assert read(written(tmp_path / "n.arrow", batch)).num_rows == 1


def test_a_column_of_nulls_is_read_in_batches_of_a_million_rows(tmp_path: Path) -> None:
    path = written(tmp_path / "nulls.arrow", pa.record_batch([pa.nulls(2_500_000)], ["n"]))
    with open_source(plan_source(str(path))) as reader:
        assert [batch.num_rows for batch in reader] == [1_000_000, 1_000_000, 500_000]


def test_a_parquet_row_with_more_than_16_million_values_is_refused(tmp_path: Path) -> None:
    count = 16_000_001
    lists = pa.ListArray.from_arrays(pa.array([0, count], pa.int32()), pa.array(np.zeros(count, np.int8)))
    pq.write_table(pa.table({"n": lists}), tmp_path / "zeros.parquet")
    assert (tmp_path / "zeros.parquet").stat().st_size < 1_000
    with pytest.raises(SourceTooLargeError, match=r"row group 0 has 16,000,001 values in a row.*at most 16,000,000"):
        plan_source(str(tmp_path / "zeros.parquet"))


@pytest.mark.parametrize("format_", ["parquet", "arrow"])
def test_two_columns_of_one_name_are_refused_by_name(tmp_path: Path, format_: str) -> None:
    table = pa.table([[1], [2]], names=["a", "a"])
    path = tmp_path / f"twice.{format_}"
    if format_ == "parquet":
        pq.write_table(table, path)
    else:
        written(path, table.to_batches()[0])
    with pytest.raises(SourceFormatError, match="two columns are named 'a'"):
        plan_source(str(path))


@pytest.mark.parametrize("format_", ["parquet", "arrow"])
@pytest.mark.parametrize("around", ["nothing", "list", "struct", "map", "dictionary", "fixed_size_list"])
def test_a_field_name_that_is_not_utf8_is_refused_in_every_type_that_holds_it(
    tmp_path: Path, format_: str, around: str
) -> None:
    inner = pa.struct([("caffe", pa.int64())])
    kinds = {
        "nothing": inner,
        "list": pa.list_(inner),
        "struct": pa.struct([("x", inner)]),
        "map": pa.map_(pa.string(), inner),
        "dictionary": pa.struct([("x", inner)]),
        "fixed_size_list": pa.list_(inner, 2),
    }
    column = pa.array([], kinds[around])
    if around == "dictionary" and format_ == "arrow":
        column = pa.DictionaryArray.from_arrays(pa.array([], pa.int8()), column)
    table = pa.table({"c": column})
    path = tmp_path / f"name.{format_}"
    if format_ == "parquet":
        pq.write_table(table, path, store_schema=False, compression="none")
    else:
        written(path, pa.RecordBatch.from_arrays([column], ["c"]))
    patched(path, b"caffe", b"caf\xe9e")
    with pytest.raises(SourceCorruptError, match=rf"name\.{format_} is damaged"):
        read(path)


def test_a_time_zone_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "zone.arrow", pa.record_batch([pa.array([0], pa.timestamp("s", "Zone/Caffe"))], ["t"]))
    patched(path, b"Zone/Caffe", b"Zone/Caf\xe9e")
    with pytest.raises(SourceCorruptError, match=r"zone\.arrow is damaged"):
        read(path)


def test_a_dictionary_index_out_of_range_is_refused_by_its_column(tmp_path: Path) -> None:
    coded = pa.DictionaryArray.from_arrays(pa.array([0, 77], pa.int8()), pa.array(["a"]), safe=False)
    path = written(tmp_path / "coded.arrow", pa.record_batch([coded], ["word"]))
    with pytest.raises(SourceCorruptError, match=r"coded\.arrow is damaged Arrow data: column 'word'"):
        read(path)


def test_offsets_out_of_range_are_refused_by_their_column(tmp_path: Path) -> None:
    path = written(tmp_path / "lists.arrow", pa.record_batch([pa.array([["hello", "world"]])], ["words"]))
    sound, broken = (np.array(offsets, np.int32).tobytes() for offsets in ([0, 5, 10], [0, 5, 1000]))
    patched(path, sound, broken)
    with pytest.raises(SourceCorruptError, match=r"lists\.arrow is damaged Arrow data"):
        read(path)


def test_a_unit_above_the_limit_is_refused_by_its_declared_size_before_it_is_read(tmp_path: Path) -> None:
    path = written(tmp_path / "big.arrow", pa.record_batch([pa.array(np.arange(1000))], ["n"]))
    with pytest.raises(SourceTooLargeError, match="at most 100 are read at once"):
        plan_source(str(path), SourceOptions(max_unit_bytes=100))
