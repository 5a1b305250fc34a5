"""Fixtures for tests against the real services: settings with a separate keyspace, and a store on it."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest

from local_stack.stack import Stack
from millrace.api import Store
from millrace.settings import Settings, load_settings
from millrace.store.cluster.session import CassandraSession


@pytest.fixture(scope="session")
def settings(stack: Stack) -> Iterator[Settings]:
    """Return the settings in force with a new keyspace and its tables, which is dropped at the end."""
    made = load_settings(cassandra={"keyspace": f"test_{uuid4().hex[:12]}"})
    Store.init(made)
    yield made
    cassandra = CassandraSession.connect(made.cassandra)
    try:
        cassandra.session.execute(f"DROP KEYSPACE IF EXISTS {made.cassandra.keyspace}", timeout=120)
    finally:
        cassandra.close()


@pytest.fixture(scope="session")
def store(settings: Settings) -> Iterator[Store]:
    """Connect a store on that keyspace."""
    with Store.connect(settings) as connected:
        yield connected
