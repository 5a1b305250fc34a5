"""The datasets that the tests of training read: numbered rows in many small chunks, and one of 60 MB."""

from __future__ import annotations

from uuid import uuid4

import numpy as np
import pytest

from millrace.api import Store
from millrace.load import LoadOptions
from tests.integration.training.fetches import Fetches
from tests.integration.training.ranks import Batches, global_batches, numbered_table, read_ranks

ROWS = 120_000


@pytest.fixture(scope="session")
def numbered(store: Store) -> str:
    """Load rows whose values follow from their number into some 48 chunks, and return the version."""
    name = f"numbered_{uuid4().hex[:8]}"
    store.load(name, numbered_table(ROWS), LoadOptions(chunk_bytes=65_536))
    version = store.version(name)
    assert version.chunks >= 40
    # It is dropped with the keyspace: a killed reader holds its lease for 15 minutes.
    return version.reference


@pytest.fixture(scope="session")
def unbroken(store: Store, numbered: str) -> Batches:
    """Return the batches of an epoch that nothing disturbs, each row once and with its own values."""
    batches = global_batches(read_ranks(store, numbered, 1))
    rows = np.concatenate([batch["row"] for batch in batches])
    assert (np.sort(rows) == np.arange(ROWS)).all()
    assert (rows != np.arange(ROWS)).any()
    assert all((batch["x"] == batch["row"][:, None] * np.arange(1, 9)).all() for batch in batches)
    return batches


@pytest.fixture
def fetches(monkeypatch: pytest.MonkeyPatch) -> Fetches:
    """Record the chunks that the loaders of this process read."""
    return Fetches(monkeypatch)
