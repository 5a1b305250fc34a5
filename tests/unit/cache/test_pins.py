"""Pins: their holders, and their time to live."""

from __future__ import annotations

from millrace.cache.pins import PIN_S, RENEW_S, new_holder


def test_a_pin_outlives_several_missed_heartbeats() -> None:
    assert PIN_S >= 3 * RENEW_S


def test_holders_are_unique_and_have_no_space() -> None:
    holders = {new_holder("job/") for _ in range(100)}
    assert len(holders) == 100
    assert all(holder.startswith("job/") and " " not in holder for holder in holders)
