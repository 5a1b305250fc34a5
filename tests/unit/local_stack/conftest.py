from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from local_stack.machine import Sizes
from local_stack.processes import Started, stop
from local_stack.services.base import StackLayout
from local_stack.settings import StackSettings, load_stack_settings


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> StackSettings:
    monkeypatch.setenv("MILLRACE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MILLRACE_STACK__PORT_OFFSET", "0")
    return load_stack_settings()


@pytest.fixture
def place(settings: StackSettings) -> StackLayout:
    return StackLayout(settings, Sizes(cassandra_heap_mb=1024, redis_maxmemory_mb=512))


@pytest.fixture
def ended_after() -> Iterator[list[Started]]:
    """Yield a list; processes put into it are stopped after the test, even if it fails."""
    started: list[Started] = []
    yield started
    for process in started:
        stop(process, grace_s=0)
