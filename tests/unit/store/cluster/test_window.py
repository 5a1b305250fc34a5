from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.errors import StoreTimeoutError
from millrace.store.cluster.window import ByteWindow


def test_a_taker_alone_is_never_refused_however_large() -> None:
    window = ByteWindow(100, floor_bytes=10)
    window.take(1000, timeout_s=0.01)
    assert window.taken_bytes == 1000


def test_no_room_within_the_time_is_a_retriable_error_and_takes_nothing() -> None:
    window = ByteWindow(100, floor_bytes=10)
    window.take(60, timeout_s=0.01)
    with pytest.raises(StoreTimeoutError, match="took no write") as caught:
        window.take(60, timeout_s=0.01)
    assert caught.value.retriable
    assert window.taken_bytes == 60


def test_a_waiting_thread_continues_when_room_is_released() -> None:
    window = ByteWindow(100, floor_bytes=10)
    window.take(60, timeout_s=0.01)
    taken = threading.Event()

    def wait() -> None:
        window.take(60, timeout_s=20)
        taken.set()

    thread = threading.Thread(target=wait)
    thread.start()
    assert not taken.is_set()
    window.release(60)
    thread.join(20)
    assert taken.is_set()
    assert window.taken_bytes == 60


def test_throttling_halves_the_window_down_to_the_floor() -> None:
    window = ByteWindow(100, floor_bytes=20)
    rooms = []
    for _ in range(4):
        window.throttle()
        rooms.append(window.room_bytes)
    assert rooms == [50, 25, 20, 20]


def test_sixteen_releases_without_throttling_restore_a_sixteenth_up_to_the_limit() -> None:
    window = ByteWindow(160, floor_bytes=10)
    window.throttle()

    def acknowledge(times: int) -> int:
        for _ in range(times):
            window.take(1, timeout_s=1)
            window.release(1)
        return window.room_bytes

    assert acknowledge(15) == 80
    assert acknowledge(1) == 90
    assert acknowledge(16 * 20) == 160


def test_throttling_restarts_the_count_of_releases() -> None:
    window = ByteWindow(160, floor_bytes=10)
    window.throttle()
    for _ in range(15):
        window.take(1, timeout_s=1)
        window.release(1)
    window.throttle()
    window.take(1, timeout_s=1)
    window.release(1)
    assert window.room_bytes == 40


@given(st.lists(st.tuples(st.sampled_from(["take", "back", "push"]), st.integers(1, 120)), max_size=60))
def test_never_more_than_the_limit_is_taken_except_by_one_alone(steps: list[tuple[str, int]]) -> None:
    window = ByteWindow(100, floor_bytes=30)
    held: list[int] = []
    for what, size in steps:
        if what == "push":
            window.throttle()
        elif what == "back" and held:
            window.release(held.pop(0))
        elif what == "take":
            fits = not held or sum(held) + size <= window.room_bytes
            if fits:
                window.take(size, timeout_s=1)
                held.append(size)
            else:
                with pytest.raises(StoreTimeoutError):
                    window.take(size, timeout_s=0)
        assert window.taken_bytes == sum(held)
        assert window.taken_bytes <= 100 or len(held) == 1
        assert 30 <= window.room_bytes <= 100


def test_a_cap_on_takers_holds_whatever_the_bytes() -> None:
    window = ByteWindow(1_000, floor_bytes=10, limit_takers=2)
    window.take(1, timeout_s=1)
    window.take(1, timeout_s=1)
    with pytest.raises(StoreTimeoutError):
        window.take(1, timeout_s=0.01)
    window.release(1)
    window.take(1, timeout_s=1)


def test_a_cap_on_the_rate_delays_takers_without_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("millrace.store.cluster.window.time.monotonic", lambda: now[0])
    monkeypatch.setattr(
        "millrace.store.cluster.window.time.sleep", lambda seconds: now.__setitem__(0, now[0] + seconds)
    )
    window = ByteWindow(10_000, floor_bytes=10, bytes_per_s=100)
    for _ in range(5):
        window.take(200, timeout_s=0.001)
        window.release(200)
    # The first take returns at once, the fifth after four times 200 bytes at two seconds each.
    assert now[0] == pytest.approx(108.0)
