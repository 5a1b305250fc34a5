from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.errors import StoreTimeoutError
from millrace.store.cluster.window import ByteWindow


def test_a_single_write_is_never_refused_however_large() -> None:
    window = ByteWindow(100, floor_bytes=10)
    window.acquire(1000, timeout_s=0.01)
    assert window.in_flight_bytes == 1000


def test_no_room_within_the_time_is_a_retriable_error_and_takes_nothing() -> None:
    window = ByteWindow(100, floor_bytes=10)
    window.acquire(60, timeout_s=0.01)
    with pytest.raises(StoreTimeoutError, match="accepted no write") as caught:
        window.acquire(60, timeout_s=0.01)
    assert caught.value.retriable
    assert window.in_flight_bytes == 60


def test_a_waiting_thread_continues_when_room_is_released() -> None:
    window = ByteWindow(100, floor_bytes=10)
    window.acquire(60, timeout_s=0.01)
    taken = threading.Event()

    def wait() -> None:
        window.acquire(60, timeout_s=20)
        taken.set()

    thread = threading.Thread(target=wait)
    thread.start()
    assert not taken.is_set()
    window.release(60)
    thread.join(20)
    assert taken.is_set()
    assert window.in_flight_bytes == 60


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
            window.acquire(1, timeout_s=1)
            window.release(1)
        return window.room_bytes

    assert acknowledge(15) == 80
    assert acknowledge(1) == 90
    assert acknowledge(16 * 20) == 160


def test_throttling_restarts_the_count_of_releases() -> None:
    window = ByteWindow(160, floor_bytes=10)
    window.throttle()
    for _ in range(15):
        window.acquire(1, timeout_s=1)
        window.release(1)
    window.throttle()
    window.acquire(1, timeout_s=1)
    window.release(1)
    assert window.room_bytes == 40


@given(st.lists(st.tuples(st.sampled_from(["acquire", "release", "throttle"]), st.integers(1, 120)), max_size=60))
def test_never_more_than_the_limit_is_taken_except_by_one_alone(steps: list[tuple[str, int]]) -> None:
    window = ByteWindow(100, floor_bytes=30)
    in_flight: list[int] = []
    for step, size in steps:
        if step == "throttle":
            window.throttle()
        elif step == "release" and in_flight:
            window.release(in_flight.pop(0))
        elif step == "acquire":
            fits = not in_flight or sum(in_flight) + size <= window.room_bytes
            if fits:
                window.acquire(size, timeout_s=1)
                in_flight.append(size)
            else:
                with pytest.raises(StoreTimeoutError):
                    window.acquire(size, timeout_s=0)
        assert window.in_flight_bytes == sum(in_flight)
        assert window.in_flight_bytes <= 100 or len(in_flight) == 1
        assert 30 <= window.room_bytes <= 100


def test_a_cap_on_writes_holds_for_any_number_of_bytes() -> None:
    window = ByteWindow(1_000, floor_bytes=10, limit_writes=2)
    window.acquire(1, timeout_s=1)
    window.acquire(1, timeout_s=1)
    with pytest.raises(StoreTimeoutError):
        window.acquire(1, timeout_s=0.01)
    window.release(1)
    window.acquire(1, timeout_s=1)


def test_a_cap_on_the_rate_delays_writes_without_an_error() -> None:
    now = [100.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    window = ByteWindow(10_000, floor_bytes=10, bytes_per_s=100, clock=lambda: now[0], sleep=sleep)
    for _ in range(5):
        window.acquire(200, timeout_s=0.001)
        window.release(200)
    # The first acquire returns at once, the fifth after four times 200 bytes at two seconds each.
    assert now[0] == pytest.approx(108.0)
