"""The lease of a version while a loader reads it."""

from __future__ import annotations

from contextlib import suppress
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pytest

from millrace.api import Store
from millrace.errors import UsageError
from tests.waiting import until


def test_a_version_that_a_loader_reads_cannot_be_deleted(store: Store) -> None:
    name = f"leased_{uuid4().hex[:8]}"
    store.load(name, pa.table({"row": np.arange(5000)}))
    with store.dataset(name).training(global_batch_rows=80) as loader:
        next(iter(loader))
        with pytest.raises(UsageError, match="lease"):
            store.delete(store.version(name).reference)
    until(lambda: is_deleted(store, name), "the end of the lease")


def is_deleted(store: Store, name: str) -> bool:
    with suppress(UsageError):
        store.delete(store.version(name).reference)
        return True
    return False
