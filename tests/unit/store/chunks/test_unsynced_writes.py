"""Writes that were acknowledged shortly before or after a replica was lost."""

from __future__ import annotations

import time

from millrace.store.chunks.unsynced_writes import UnsyncedWrites


def test_only_writes_near_a_loss_are_taken_as_lost_and_each_loss_counts_once() -> None:
    now = time.monotonic()
    loss_times: list[float] = []
    unsynced = UnsyncedWrites(loss_times, sync_window_s=10.0)
    for bucket, age_s in ((0, 15.0), (1, 9.0), (1, 5.0), (-1, 0.0)):
        unsynced.add(bucket, now - age_s)
    assert unsynced.take_lost() == {}
    loss_times.append(now)
    assert unsynced.take_lost() == {1: 2, -1: 1}
    assert unsynced.take_lost() == {}


def test_a_write_counted_after_the_loss_was_handled_is_lost_too() -> None:
    now = time.monotonic()
    loss_times = [now]
    unsynced = UnsyncedWrites(loss_times, sync_window_s=10.0)
    assert not unsynced.is_lost(now)
    unsynced.take_lost()
    assert unsynced.is_lost(now - 9.9)
    assert unsynced.is_lost(now + 9.9)
    assert not unsynced.is_lost(now - 10.1)


def test_a_write_is_kept_for_twice_the_window_because_its_loss_may_be_reported_late() -> None:
    now = time.monotonic()
    loss_times: list[float] = []
    unsynced = UnsyncedWrites(loss_times, sync_window_s=10.0)
    unsynced.add(0, now - 30.0)
    unsynced.add(1, now - 19.0)
    unsynced.take_lost()
    loss_times.append(now - 25.0)
    assert unsynced.take_lost() == {1: 1}


def test_a_write_without_a_time_is_acknowledged_now() -> None:
    unsynced = UnsyncedWrites([time.monotonic()], sync_window_s=1.0)
    unsynced.add(3)
    assert unsynced.take_lost() == {3: 1}
