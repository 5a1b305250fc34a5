from __future__ import annotations

import pytest

from millrace.api import Store
from tests.unit.store.in_memory import cassandra, csv, settings, store
from tests.unit.training.prepare.trips import trips, weather

__all__ = ["cassandra", "csv", "settings", "store"]


@pytest.fixture
def loaded(store: Store) -> Store:
    """Return a store with 600 trips and the weather of their hours."""
    store.load("trips", trips(600))
    store.load("weather", weather(12))
    return store
