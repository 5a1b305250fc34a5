"""Files of declared sources for the tests of this room."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

from millrace.declarations import Declarations, SourceEntry, read_sources

Read = Callable[[str], Declarations[SourceEntry]]


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Read:
    """Return a function that reads a text as ``conf/sources.yaml`` of the working directory."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "conf" / "sources.yaml"
    path.parent.mkdir()

    def read_text(text: str) -> Declarations[SourceEntry]:
        path.write_text(dedent(text).lstrip("\n"))
        return read_sources(path)

    return read_text
