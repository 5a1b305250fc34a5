"""A job that reads a version keeps it from being deleted and evicted, and is counted."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from typing import Any
from unittest.mock import MagicMock

from millrace.api import Store
from millrace.dataset import Dataset
from tests.unit.store.in_memory import cassandra, csv, settings, store

__all__ = ["cassandra", "csv", "settings", "store"]


def test_the_use_of_a_version_takes_its_lease_and_its_pin(store: Store, csv: Callable[..., str]) -> None:
    store.load("flights", csv(10))
    version, cache, held = store.version("flights"), MagicMock(), []

    @contextmanager
    def hold(name: str) -> Any:
        held.append(name)
        yield name
        held.remove(name)

    cache.pin.side_effect = lambda dataset, label: hold(f"pin of {dataset}@{label}")
    dataset = Dataset(
        version, store.catalogue, store.chunk_reader, cache, store.settings.read, lease=lambda: hold("lease")
    )
    with dataset.used_by("job-7") as lease:
        assert lease == "lease"
        assert held == ["lease", f"pin of {version.reference}"]
        cache.opened.assert_called_once_with("flights", version.label, "job-7")
    assert held == []


def test_the_use_of_a_version_without_a_cache_takes_its_lease_alone(store: Store, csv: Callable[..., str]) -> None:
    store.load("flights", csv(10))
    with store.dataset("flights").used_by("job-7") as lease:
        assert lease is not None


def test_the_known_pages_name_every_chunk(store: Store, csv: Callable[..., str]) -> None:
    store.load("flights", csv(10))
    dataset = store.dataset("flights")
    assert [ref for page in dataset.known_pages() for ref in page.refs()] == list(dataset.refs())
