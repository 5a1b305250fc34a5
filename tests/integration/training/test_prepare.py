"""Preparations on the real services: killed in each phase they leave nothing, and run again they complete."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from millrace.api import Store
from millrace.store import ChunkReader, ChunkRef
from tests.integration.training.small_preparation import load_inputs, preparation_of, prepare

PHASES = ("plan", "fetch trips", "fetch weather", "query", "labels", "join", "check", "write", "publish", "end")
TIMEOUT_S = 120


@pytest.fixture(scope="module")
def prefix(store: Store) -> str:
    """Load the inputs of the tests of this module, and return the prefix of their names."""
    made = f"p{uuid4().hex[:8]}"
    load_inputs(store, made)
    return made


@pytest.fixture(scope="module")
def unbroken(store: Store, prefix: str) -> str:
    """Return a version that was prepared without a fault."""
    name = f"{prefix}_late"
    report = prepare(store, preparation_of(prefix, name), run="unbroken")
    return report.reference


def stored_checksums(store: Store, reference: str) -> list[bytes]:
    """Return the checksum of each stored tile, in order."""
    return [tile.stored_checksum for ref in store.dataset(reference).refs() for tile in ref.tiles]


@pytest.mark.parametrize("phase", PHASES)
def test_a_preparation_killed_in_a_phase_completes_when_it_runs_again(
    store: Store, prefix: str, unbroken: str, phase: str, tmp_path: Path
) -> None:
    name = f"{prefix}_{phase.replace(' ', '_')}"
    scratch = tmp_path / "scratch"
    env = {
        **os.environ,
        "MILLRACE_CASSANDRA__KEYSPACE": store.settings.cassandra.keyspace,
        "MILLRACE_TRAINING__SCRATCH": str(scratch),
    }
    command = [sys.executable, "-m", "tests.integration.training.killed_preparation", name, prefix, "run", phase]
    killed = subprocess.run(command, env=env, timeout=TIMEOUT_S, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len(store.catalogue.versions(name)) == (1 if phase == "end" else 0)
    command[-1] = "never"
    subprocess.run(command, env=env, timeout=TIMEOUT_S, check=True)
    assert len(store.versions(name)) == 1
    assert stored_checksums(store, name) == stored_checksums(store, unbroken)
    assert not any(path.is_dir() for path in scratch.iterdir())


def test_only_the_tiles_of_used_columns_are_fetched(store: Store, prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: set[int] = set()
    fetch, fetch_many = ChunkReader.fetch, ChunkReader.fetch_many

    def counted(reader: ChunkReader, ref: ChunkRef, tiles: Sequence[int] | None = None) -> Any:
        fetched.update(range(len(ref.tiles)) if tiles is None else tiles)
        return fetch(reader, ref, tiles)

    def counted_many(reader: ChunkReader, refs: Sequence[ChunkRef], tiles: Sequence[int]) -> Any:
        fetched.update(tiles)
        return fetch_many(reader, refs, tiles)

    monkeypatch.setattr(ChunkReader, "fetch", counted)
    monkeypatch.setattr(ChunkReader, "fetch_many", counted_many)
    query = "SELECT id, CAST(distance AS FLOAT) AS distance FROM trips"
    preparation = preparation_of(
        prefix,
        f"{prefix}_narrow",
        inputs={"trips": f"{prefix}_trips"},
        query=query,
        known={},
        categories=(),
        nulls={},
        features=("distance",),
    )
    prepare(store, preparation, run="narrow")
    schema = store.dataset(f"{prefix}_trips").schema
    assert schema.names == ["id", "city", "start", "distance", "delay"]
    assert fetched == {schema.get_field_index(name) for name in ("id", "start", "distance", "delay")}
