"""Fixtures of a whole store on an in-memory cluster, and of files to load."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from millrace.api import Store
from millrace.settings import Settings, load_settings
from tests.unit.store.fakes import FakeCassandra


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    """Return settings that are independent of the environment, without a cache and without progress."""
    monkeypatch.setenv("MILLRACE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MILLRACE_CONFIG", "")
    return load_settings(redis={"url": ""}, cassandra={"keyspace": "ks"})


@pytest.fixture
def cassandra() -> FakeCassandra:
    """Return a cluster of two in-memory nodes that are probed within hundredths of a second."""
    return FakeCassandra()


@pytest.fixture
def store(cassandra: FakeCassandra, settings: Settings) -> Iterator[Store]:
    """Yield a store on the in-memory cluster."""
    with Store(cassandra, settings) as opened:
        yield opened


@pytest.fixture
def csv(tmp_path: Path) -> Callable[..., str]:
    """Return a function that writes a CSV of ``rows`` rows (``n``, ``text``) from ``first`` and returns its path."""

    def write(rows: int, first: int = 0, name: str = "data.csv") -> str:
        lines = ["n,text", *(f"{n},text {n}" for n in range(first, first + rows))]
        path = tmp_path / name
        path.write_text("\n".join(lines) + "\n")
        return str(path)

    return write
