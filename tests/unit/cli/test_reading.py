"""What ``millrace read`` writes: the rows of one split, with the recipe of the version."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from millrace.api import Store
from millrace.cli.reading import Reading, export_rows, restore_files
from millrace.dataset import recipe_of
from millrace.errors import UsageError
from millrace.progress import null_task
from tests.prepared_version import Published, publish_prepared, recipe_for, training_rows
from tests.unit.store.in_memory import cassandra, settings, store

__all__ = ["cassandra", "settings", "store"]
ROWS = 1000


@pytest.fixture
def made(store: Store, tmp_path: Path) -> Published:
    rows = training_rows(ROWS)
    return publish_prepared(store, "late", rows, tmp_path, recipe=recipe_for(rows))


def reading(made: Published, **options: Any) -> Reading:
    given: dict[str, Any] = {"columns": None, "filter": None, "head": None, "task": null_task()}
    return Reading(made.dataset, **{**given, **options})


@pytest.mark.parametrize("options", [{}, {"columns": ["wind", "target"]}, {"filter": "wet"}, {"head": 10}])
def test_the_rows_of_one_split_are_written_with_the_recipe(
    made: Published, tmp_path: Path, options: dict[str, Any]
) -> None:
    path = tmp_path / "val.parquet"
    rows, size_bytes = export_rows(reading(made, split="val", **options), str(path), None)
    written = pq.read_table(path)
    expected = made.splits["val"]
    if "filter" in options:
        expected = expected.filter(expected["wet"])
    expected = expected.slice(0, options.get("head")).select(options.get("columns", expected.column_names))
    assert (rows, size_bytes) == (expected.num_rows, path.stat().st_size)
    assert written.equals(expected)
    assert recipe_of(written.schema) == made.dataset.recipe


def test_a_split_that_does_not_exist_is_refused_before_anything_is_written(made: Published, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no split 'vall': did you mean 'val'"):
        export_rows(reading(made, split="vall"), str(tmp_path / "out.parquet"), None)
    assert not (tmp_path / "out.parquet").exists()


def test_files_have_no_splits(store: Store, tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"abc")
    store.load("files", str(tmp_path / "a.bin"), format="bytes")
    read = Reading(store.dataset("files"), None, None, None, null_task(), "train")
    with pytest.raises(UsageError, match="files, which are written unchanged: --columns, --filter, --head and --split"):
        restore_files(read, str(tmp_path / "out"), force=False)
    assert isinstance(store.dataset("files").schema, pa.Schema)
