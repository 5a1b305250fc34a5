"""The memory that values use in Redis, and its limit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.cache.memory import Room, limit_bytes, rounds_up, value_cost_bytes


@pytest.mark.parametrize(("size", "cost"), [(4_900_000, 5_242_880), (5_000_000, 5_242_880), (5_242_880, 6_291_456)])
def test_jemalloc_rounds_large_values_up(size: int, cost: int) -> None:
    assert cost <= value_cost_bytes(size) < cost + 1000
    assert size <= value_cost_bytes(size, rounds=False) < size + 5000


@given(size=st.integers(0, 600_000_000))
def test_a_value_never_costs_less_than_its_bytes_nor_a_quarter_more(size: int) -> None:
    assert size < value_cost_bytes(size) <= size * 1.25 + 1000


def test_a_room_rounds_like_its_redis() -> None:
    assert Room(0, 0, rounds=True).cost_bytes(4_900_000) == value_cost_bytes(4_900_000)
    assert 1e9 * 1.05 < Room(0, 0, rounds=True).cost_bytes(950_000_000) < 1e9 * 1.25
    assert 1e9 < Room(0, 0, rounds=False).cost_bytes(1_000_000_000) < 1e9 * 1.01


def test_a_redis_without_a_limit_gets_half_of_the_memory() -> None:
    assert limit_bytes({"maxmemory": 100, "total_system_memory": 1000}) == 100
    assert limit_bytes({"maxmemory": 0, "total_system_memory": 1000}) == 500
    assert rounds_up({"mem_allocator": "jemalloc-5.1.0"})
    assert not rounds_up({"mem_allocator": "libc"})
