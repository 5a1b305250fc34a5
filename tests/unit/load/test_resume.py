"""Resuming a load: rows already written are compared with the source, and a changed source is refused."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from millrace.api import Store
from millrace.chunks import encode_row_group
from millrace.errors import DatasetNotFoundError, SourceChangedError
from millrace.load import LoadOptions
from millrace.load.resume import ResumePoint, _same, skip_written_rows
from tests.unit.store.fakes import FakeCassandra

SMALL = LoadOptions(chunk_bytes=65_536)


def rewritten(path: Path, change: Callable[[], None]) -> None:
    """Change the file and keep its size and modification time."""
    before = path.stat()
    change()
    assert path.stat().st_size == before.st_size
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def begin(store: Store, source: Path, options: LoadOptions = SMALL) -> int:
    """Run a load that dies before it publishes; return the number of chunks that it wrote."""
    result = store.load_split(store.plan("data", str(source), options, run="night"), None)
    return result.chunks


def noise(rows: int, seed: int) -> np.ndarray[Any, Any]:
    """Return numbers of eight random digits, which compress badly."""
    return np.random.default_rng(seed).integers(10_000_000, 99_999_999, rows)


def write_csv(path: Path, numbers: np.ndarray[Any, Any]) -> None:
    path.write_text("n\n" + "\n".join(map(str, numbers)) + "\n")


@pytest.mark.parametrize("where", [0, 20_000, 39_999])
def test_a_source_that_changed_at_the_same_size_and_time_is_refused_and_not_mixed(
    store: Store, tmp_path: Path, where: int
) -> None:
    source = tmp_path / "a.csv"
    numbers = noise(40_000, 1)
    write_csv(source, numbers)
    assert begin(store, source) > 1
    numbers[where] ^= 1  # a change that leaves the sizes in the sample, so the plan stays the same
    rewritten(source, lambda: write_csv(source, numbers))
    with pytest.raises(
        SourceChangedError, match=r"a\.csv differs from the source that an earlier attempt at this run read"
    ) as caught:
        store.load("data", str(source), SMALL, run="night")
    assert caught.value.hint
    with pytest.raises(DatasetNotFoundError):
        store.version("data")
    fresh = store.load("data", str(source), SMALL)
    assert store.dataset(f"data@{fresh.version}").to_table()["n"].to_pylist() == numbers.tolist()


def test_a_source_that_ends_before_the_written_rows_is_refused(store: Store, tmp_path: Path) -> None:
    source = tmp_path / "a.csv"
    numbers = noise(40_000, 1)
    write_csv(source, numbers)
    plan = store.plan("data", str(source), SMALL, run="night")
    writer = store.load_split(plan, None).attempt_id
    kept = ResumePoint(tuple(store.catalogue.pages.finished("data", writer)))
    whole = pa.record_batch([pa.array(numbers)], ["n"])
    more = pa.record_batch([pa.array([1, 2])], ["n"])
    for batches, after in (([whole], 0), ([whole, more], 2), ([pa.record_batch([pa.array([*numbers, 7])], ["n"])], 1)):
        assert sum(batch.num_rows for batch in skip_written_rows(store.cassandra, plan, kept, batches)) == after
    with pytest.raises(SourceChangedError, match="at row 39,999 or soon after"):
        list(skip_written_rows(store.cassandra, plan, kept, [whole.slice(0, 39_999)]))
    with pytest.raises(SourceChangedError, match="at row 0 or soon after"):
        list(skip_written_rows(store.cassandra, plan, kept, [pa.record_batch([pa.array(["a"] * 40_000)], ["n"])]))


def test_a_zero_that_lost_its_sign_is_a_change(store: Store, tmp_path: Path) -> None:
    source = tmp_path / "a.parquet"
    numbers = np.arange(5_000) / 7
    pq.write_table(pa.table({"x": numbers}), source)
    plan = store.plan("data", str(source), SMALL, run="night")
    writer = store.load_split(plan, None).attempt_id
    kept = ResumePoint(tuple(store.catalogue.pages.finished("data", writer)))
    assert not list(skip_written_rows(store.cassandra, plan, kept, [pa.record_batch([numbers], ["x"])]))
    numbers[0] = -0.0
    with pytest.raises(SourceChangedError):
        list(skip_written_rows(store.cassandra, plan, kept, [pa.record_batch([numbers], ["x"])]))


def test_nan_null_and_dictionary_columns_are_resumed_without_rewriting(
    store: Store, cassandra: FakeCassandra, tmp_path: Path
) -> None:
    rows = 20_000
    rng = np.random.default_rng(2)
    floats = np.where(rng.random(rows) < 0.1, np.nan, rng.random(rows))
    table = pa.table(
        {
            "n": noise(rows, 3),
            "nan": floats,
            "small": pa.array(floats.astype(np.float16)),
            "listed": pa.array([[x, None] for x in floats.tolist()]),
            "coded": pa.array(["a", "b", None, "c"] * (rows // 4)).dictionary_encode(),
            "word": ["once", "twice", "ever", "never"] * (rows // 4),
            "nothing": pa.nulls(rows),
        }
    )
    source = tmp_path / "a.parquet"
    pq.write_table(table, source, row_group_size=3_000)
    chunks = begin(store, source)
    assert chunks > 1
    before = len(cassandra.table("chunks"))
    store.load("data", str(source), SMALL, run="night")
    assert len(cassandra.table("chunks")) == before
    back = store.dataset("data").to_table()
    assert back.num_rows == rows
    assert back["n"].equals(table["n"])


def test_nanoseconds_beside_nan_and_in_dictionaries_are_resumed_without_rewriting(
    store: Store, cassandra: FakeCassandra, tmp_path: Path
) -> None:
    """Python raises for nanoseconds, and Arrow calls neither of these columns equal to itself."""
    rows = 40_000
    moments = pa.array(noise(rows, 6)).view(pa.timestamp("ns"))
    weights = pa.array([float("nan"), 0.5] * (rows // 2))
    codes = pa.array([0, 1, 2, None] * (rows // 4), pa.int8())
    coded = pa.DictionaryArray.from_arrays(codes, moments.slice(0, 3))
    table = pa.table({"pair": pa.StructArray.from_arrays([weights, moments], ["w", "t"]), "coded": coded})
    source = tmp_path / "a.arrow"
    with pa.ipc.new_file(source, table.schema) as file:
        file.write_table(table, max_chunksize=1_000)
    assert begin(store, source) > 1
    before = len(cassandra.table("chunks"))
    store.load("data", str(source), SMALL, run="night")
    assert len(cassandra.table("chunks")) == before
    assert _same(*table.to_batches(), *table.to_batches())
    moved = pa.DictionaryArray.from_arrays(codes, moments.slice(1, 3))
    assert not _same(*table.to_batches(), *table.set_column(1, "coded", moved).to_batches())


def test_columns_that_widen_in_the_written_rows_are_compared_at_their_final_type(store: Store, tmp_path: Path) -> None:
    source = tmp_path / "a.csv"
    numbers = [str(n) for n in noise(40_000, 4)]
    for at in (15_000, 30_000):
        numbers[at] = "0.5"
    source.write_text("n,empty\n" + "\n".join(f"{n},{'' if k < 25_000 else k}" for k, n in enumerate(numbers)) + "\n")
    options = LoadOptions(chunk_bytes=65_536, source=SMALL.source.__class__(infer_bytes=1_000))
    assert begin(store, source, options) > 1
    store.load("data", str(source), options, run="night")
    back = store.dataset("data").to_table()
    assert back["n"].to_pylist() == [float(n) for n in numbers]
    assert back["empty"].to_pylist() == [None] * 25_000 + list(range(25_000, 40_000))


@pytest.mark.parametrize("ending", ["", ".5"])
def test_numbers_that_widen_within_a_chunk_still_match_the_source(store: Store, tmp_path: Path, ending: str) -> None:
    source = tmp_path / "a.csv"
    lines = [str(n % 20_000) for n in range(60_000)]
    lines[30_000:] = [f"{n - 40_000}{ending}" if n % 3 else f"{n}{ending}" for n in range(30_000)]
    source.write_text("n,m\n" + "\n".join(f"{line},{k % 90}" for k, line in enumerate(lines)) + "\n")
    options = LoadOptions(chunk_bytes=5_000_000, source=SMALL.source.__class__(infer_bytes=1_000))
    assert begin(store, source, options) >= 1
    assert store.load("data", str(source), options, run="night").rows == 60_000
    assert store.dataset("data").to_table()["n"].to_pylist() == [float(line) for line in lines]


def test_a_resumed_load_writes_the_rows_after_the_kept_ones(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "a.csv"
    numbers = noise(40_000, 5)
    write_csv(source, numbers)
    done = 0

    def dies(*args: Any) -> Any:
        nonlocal done
        done += 1
        if done == 3:
            raise RuntimeError("killed")
        return encode_row_group(*args)

    # Every bucket is one chunk, so that each has its journal page.
    small = store.settings.model_copy(
        update={"load": store.settings.load.model_copy(update={"bucket_bytes": 1, "encode_threads": 1})}
    )
    monkeypatch.setattr(store, "settings", small)
    monkeypatch.setattr("millrace.load.encoding.encode_row_group", dies)
    with pytest.raises(RuntimeError):
        begin(store, source)
    monkeypatch.setattr("millrace.load.encoding.encode_row_group", encode_row_group)
    plan = store.plan("data", str(source), SMALL, run="night")
    result = store.load_split(plan, None)
    assert result.inherited
    store.publish(plan, [result])
    assert store.dataset("data").to_table()["n"].to_pylist() == numbers.tolist()
