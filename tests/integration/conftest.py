"""What tests against the real services share: settings with a keyspace of their own, and a store on it."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest

from local_stack.stack import Stack
from millrace.api import Store
from millrace.settings import Settings, load_settings
from millrace.store.session import CassandraSession


@pytest.fixture(scope="session")
def settings(stack: Stack) -> Iterator[Settings]:
    """The settings in force, with a fresh keyspace that has its tables; dropped at the end."""
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
    """A store on that keyspace."""
    with Store.connect(settings) as connected:
        yield connected
