"""Entries of the admitted versions: their stored form, and how long they reserve memory."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from millrace.cache.entries import CacheEntry, pack_entry, unpack_entry


def test_an_entry_survives_packing_and_an_invalid_one_is_ignored() -> None:
    now = datetime.now(UTC)
    entry = CacheEntry("flights", "1-aaaaaa", 3, 100, now, now)
    assert unpack_entry(pack_entry(entry)) == entry
    assert unpack_entry(pack_entry(replace(entry, warmed_at=None))) == replace(entry, warmed_at=None)
    for strange in (b"", b"[]", b"{}", b'{"dataset": "x"}', b"\xff"):
        assert unpack_entry(strange) is None


def test_an_abandoned_entry_stops_reserving_memory() -> None:
    now = datetime.now(UTC)
    filling = CacheEntry("flights", "1-aaaaaa", 0, 100, now)
    assert filling.is_filling(now)
    assert not filling.is_filling(now + timedelta(hours=1))
    assert not replace(filling, warmed_at=now).is_filling(now)


def test_an_entry_with_a_time_without_a_zone_is_ignored() -> None:
    stored = pack_entry(CacheEntry("flights", "1-aaaaaa", 3, 100, datetime(2026, 11, 22, tzinfo=UTC)))
    assert b"2026-11-22T00:00:00Z" in stored
    assert unpack_entry(stored.replace(b"00:00Z", b"00:00")) is None


def test_an_entry_of_an_older_program_is_read() -> None:
    stored = (
        b'{"dataset": "flights", "version": "1-aaaaaa", "chunks": 3, "bytes": 100, '
        b'"admitted_at": "2026-11-22T10:00:00.123456+00:00", "warmed_at": null}'
    )
    admitted_at = datetime(2026, 11, 22, 10, 0, 0, 123456, tzinfo=UTC)
    assert unpack_entry(stored) == CacheEntry("flights", "1-aaaaaa", 3, 100, admitted_at)
