"""Keys, byte ranges, the memory cost of values, and the circuit breaker."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.cache.circuit import Circuit
from millrace.cache.entries import CacheEntry, pack_entry, unpack_entry
from millrace.cache.keys import RedisKeys, byte_ranges
from millrace.cache.memory import limit_bytes, rounds_up, value_cost_bytes, version_cost_bytes

WRITER = UUID("00112233445566778899aabbccddeeff")


@dataclass(frozen=True)
class At:
    dataset: str = "flights"
    attempt_id: UUID = WRITER
    bucket: int = 2
    chunk: int = 41


def test_a_key_names_cluster_keyspace_and_chunk() -> None:
    key = RedisKeys("Millrace", "millrace").chunk(At())
    assert key == "millrace:Millrace:millrace:chunk:flights:00112233445566778899aabbccddeeff:2:41"


def test_another_cluster_keyspace_or_chunk_has_another_key() -> None:
    keys = RedisKeys("c", "k")
    others = [RedisKeys("d", "k"), RedisKeys("c", "l")]
    places = [At(), At(dataset="f"), At(attempt_id=UUID(int=1)), At(bucket=3), At(chunk=42)]
    made = [each.chunk(At()) for each in others] + [keys.chunk(place) for place in places]
    assert len(set(made)) == len(made)


def test_pattern_characters_in_a_cluster_name_are_escaped() -> None:
    assert RedisKeys("a*[b]?", "k").all_chunks("flights") == r"millrace:a\*\[b\]\?:k:chunk:flights:*"


@given(sizes=st.lists(st.integers(1, 50), min_size=1, max_size=12), data=st.data())
def test_ranges_hold_exactly_the_bytes_of_the_tiles(sizes: list[int], data: st.DataObject) -> None:
    tiles = sorted(data.draw(st.sets(st.integers(0, len(sizes) - 1))))
    value = [tile for tile, size in enumerate(sizes) for _ in range(size)]
    ranges = byte_ranges(sizes, tiles)
    assert [tile for start, end in ranges for tile in value[start:end]] == [t for t in tiles for _ in range(sizes[t])]
    assert all(before[1] < after[0] for before, after in pairwise(ranges))


@pytest.mark.parametrize(("size", "cost"), [(4_900_000, 5_242_880), (5_000_000, 5_242_880), (5_242_880, 6_291_456)])
def test_jemalloc_rounds_large_values_up(size: int, cost: int) -> None:
    assert cost <= value_cost_bytes(size) < cost + 1000
    assert size <= value_cost_bytes(size, rounds=False) < size + 5000


@given(size=st.integers(0, 600_000_000))
def test_a_value_never_costs_less_than_its_bytes_nor_a_quarter_more(size: int) -> None:
    assert size < value_cost_bytes(size) <= size * 1.25 + 1000


def test_a_version_costs_the_sum_of_its_chunks() -> None:
    assert version_cost_bytes(0) == 0
    assert version_cost_bytes(10, [4_900_000] * 3) == 3 * value_cost_bytes(4_900_000)
    assert 1e9 * 1.1 < version_cost_bytes(1_000_000_000) < 1e9 * 1.25
    assert 1e9 < version_cost_bytes(1_000_000_000, rounds=False) < 1e9 * 1.01


def test_a_redis_without_a_limit_gets_half_of_the_memory() -> None:
    assert limit_bytes({"maxmemory": 100, "total_system_memory": 1000}) == 100
    assert limit_bytes({"maxmemory": 0, "total_system_memory": 1000}) == 500
    assert rounds_up({"mem_allocator": "jemalloc-5.1.0"})
    assert not rounds_up({"mem_allocator": "libc"})


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


def failing(calls: list[int]) -> Callable[[], None]:
    def probe() -> None:
        calls.append(1)
        raise ConnectionError("still down")

    return probe


def test_an_open_circuit_allows_no_call_before_its_retry_time() -> None:
    calls: list[int] = []
    circuit = Circuit("here", 60, failing(calls))
    assert circuit.allows()
    circuit.failed(OSError("gone"))
    assert not circuit.allows()
    assert not calls


def test_one_caller_probes_and_the_others_do_not_wait() -> None:
    entered, leave = threading.Event(), threading.Event()

    def probe() -> None:
        entered.set()
        assert leave.wait(30)

    circuit = Circuit("here", 0.001, probe)
    circuit.failed(OSError("gone"))
    time.sleep(0.01)
    answers: list[bool] = []
    prober = threading.Thread(target=lambda: answers.append(circuit.allows()))
    prober.start()
    assert entered.wait(30)
    assert not circuit.allows()
    leave.set()
    prober.join(30)
    assert answers == [True]
    assert circuit.allows()


def test_an_outage_and_its_end_are_each_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "millrace.cache")
    calls: list[int] = []
    down = failing(calls)
    working = False
    circuit = Circuit("here", 0.001, lambda: None if working else down())
    for _ in range(5):
        circuit.failed(OSError("gone"))
        time.sleep(0.005)
        assert not circuit.allows()
    working = True
    time.sleep(0.005)
    assert circuit.allows()
    assert calls == [1] * 5
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
