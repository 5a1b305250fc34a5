"""Declared files for the tests of this room."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

from millrace.declarations import Declarations, SourceEntry, TrainingEntry, read_sources, read_training

Read = Callable[[str], Declarations[SourceEntry]]
ReadTraining = Callable[[str], Declarations[TrainingEntry]]


@pytest.fixture
def conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder ``conf`` of the working directory."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "conf"
    folder.mkdir()
    return folder


@pytest.fixture
def read(conf: Path) -> Read:
    """Return a function that reads a text as ``conf/sources.yaml`` of the working directory."""

    def read_text(text: str) -> Declarations[SourceEntry]:
        (conf / "sources.yaml").write_text(dedent(text).lstrip("\n"))
        return read_sources(conf / "sources.yaml")

    return read_text


@pytest.fixture
def read_entries(conf: Path) -> ReadTraining:
    """Return a function that reads a text as ``conf/training.yaml`` of the working directory."""

    def read_text(text: str) -> Declarations[TrainingEntry]:
        (conf / "training.yaml").write_text(dedent(text).lstrip("\n"))
        return read_training(conf / "training.yaml")

    return read_text
