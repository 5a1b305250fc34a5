"""Inputs that are read once: each reader gets all bytes from the start, or an error, and never bytes with a gap."""

from __future__ import annotations

import io

import pytest

from millrace.errors import SourceUnreadableError
from millrace.sources.io import kept_input
from millrace.sources.io.kept_input import InputStream, KeptInput


def test_bytes_that_are_not_kept_are_never_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_input, "_KEPT_BYTES_MIN", 4)
    kept = KeptInput(io.BytesIO(b"0123456789").read)
    kept.load()
    first, second = InputStream(kept), InputStream(kept)
    assert [first.read(4), first.read(4)] == [b"0123", b"4567"]
    assert second.read(4) == b"0123"
    with pytest.raises(SourceUnreadableError, match="read beyond byte 4"):
        second.read(4)
    assert first.read(4) == b"89"
