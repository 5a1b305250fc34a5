"""Folders from which files may be loaded, beside one from which they may not."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def roots(tmp_path: Path) -> tuple[str, ...]:
    """Return the allowed folders; the folder ``private`` beside them is not allowed."""
    for name in ("inbox", "demo", "private"):
        (tmp_path / name).mkdir()
    (tmp_path / "inbox" / "a.csv").write_text("x\n1\n")
    (tmp_path / "demo" / "deep").mkdir()
    (tmp_path / "demo" / "deep" / "b.csv").write_text("x\n2\n")
    (tmp_path / "private" / "secret.csv").write_text("x\n3\n")
    return str(tmp_path / "inbox"), str(tmp_path / "demo")
