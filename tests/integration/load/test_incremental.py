"""Incremental loads of a folder of 10,000 files on the real nodes."""

from __future__ import annotations

import os
import time
from pathlib import Path
from uuid import uuid4

import pytest

from millrace.api import Store
from millrace.load import LoadOptions
from millrace.settings import Settings
from millrace.store import LIST_FILES

FILES = 10_000
INCREMENTAL = LoadOptions(mode="incremental")


def write(folder: Path, name: str, value: int) -> Path:
    path = folder / name
    path.write_text(f"n\n{value}\n")
    return path


def catalogue_bytes(store: Store, name: str) -> int:
    """Return the bytes of all pages of the dataset, and of its version rows, on both nodes together."""
    session, keyspace = store.cassandra.session, store.settings.cassandra.keyspace
    pages = session.execute(f"SELECT dataset, data FROM {keyspace}.pages")
    query = f"SELECT arrow_schema, pages, files, source, settings FROM {keyspace}.versions WHERE dataset = %s"
    rows = [[row.data] for row in pages if row.dataset == name] + [list(row) for row in session.execute(query, (name,))]
    return sum(len(value) for row in rows for value in row if value is not None)


@pytest.mark.timeout(900)
def test_of_10000_loaded_files_the_3_new_ones_are_loaded_and_at_most_1_mb_of_catalogue_is_written(
    settings: Settings, tmp_path: Path
) -> None:
    name = f"d_{uuid4().hex[:10]}"
    for number in range(FILES):
        write(tmp_path, f"{number:05}.csv", number)
    with Store.connect(settings) as store:
        assert store.load(name, str(tmp_path), INCREMENTAL).rows == FILES
        before = catalogue_bytes(store, name)
        write(tmp_path, "12345.csv", FILES)
        write(tmp_path, "00000a.csv", FILES + 1)
        os.utime(write(tmp_path, "99999.csv", FILES + 2), ns=(10**9, 10**9))
        report = store.load(name, str(tmp_path), INCREMENTAL)
        assert (report.rows, report.total_rows, report.replicas) == (3, FILES + 3, 2)
        assert catalogue_bytes(store, name) - before <= 1_000_000
        numbers = store.dataset(name).to_table().column("n").to_pylist()
        assert sorted(numbers) == list(range(FILES + 3))
    with Store.connect(settings) as store:
        began = time.monotonic()
        plan = store.plan(name, str(tmp_path), INCREMENTAL)
        seconds = time.monotonic() - began
        assert plan.unchanged
        assert seconds < 5
        lists = store.catalogue.pages.file_lists(store.version(name))
        assert [ref.entries for ref in lists] == [LIST_FILES] * 4 + [FILES + 3 - 4 * LIST_FILES]
        assert store.verify(name, each_replica=True).ok
        assert store.fsck().missing == []


def test_a_file_copied_over_a_loaded_one_with_the_same_time_is_noticed(store: Store, tmp_path: Path) -> None:
    name = f"d_{uuid4().hex[:10]}"
    path = write(tmp_path, "a.csv", 1)
    options = LoadOptions(skip_unchanged=True)
    first = store.load(name, str(tmp_path), options)
    assert store.load(name, str(tmp_path), options).skipped == "unchanged"
    facts = path.stat()
    copy = write(tmp_path, "b.csv", 2)
    os.utime(copy, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    copy.replace(path)
    assert path.stat().st_mtime_ns == facts.st_mtime_ns
    assert store.load(name, str(tmp_path), options).version != first.version
    assert store.dataset(name).to_table().column("n").to_pylist() == [2]
