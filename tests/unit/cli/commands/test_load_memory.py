"""The command ``load`` chooses the allocator of loaders, and restores the previous one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

from millrace.api import Store
from millrace.cli import main
from millrace.load import loader_memory
from tests.unit.store.in_memory import cassandra, csv, settings, store

__all__ = ["cassandra", "csv", "settings", "store"]


def backend() -> str:
    return str(pa.default_memory_pool().backend_name)


def test_the_command_loads_with_the_allocator_of_loaders(
    store: Store, csv: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, backends = store.plan, []

    def planned(*given: Any, **options: Any) -> Any:
        backends.append(backend())
        return plan(*given, **options)

    monkeypatch.setattr(store, "plan", planned)
    monkeypatch.setattr(Store, "connect", lambda *_settings: store)
    before = backend()
    with loader_memory():
        expected = backend()
    assert main(["load", "t", csv(3), "--dry-run"]) == 0
    assert backends == [expected]
    assert backend() == before
