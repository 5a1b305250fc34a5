"""Keys of chunks in Redis, and byte ranges of their values."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from millrace.cache.keys import RedisKeys, byte_ranges

ATTEMPT_ID = UUID("00112233445566778899aabbccddeeff")


@dataclass(frozen=True)
class Key:
    dataset: str = "flights"
    attempt_id: UUID = ATTEMPT_ID
    bucket: int = 2
    chunk: int = 41


def test_a_key_names_cluster_keyspace_and_chunk() -> None:
    key = RedisKeys("Millrace", "millrace").chunk(Key())
    assert key == "millrace:Millrace:millrace:chunk:flights:00112233445566778899aabbccddeeff:2:41"


def test_another_cluster_keyspace_or_chunk_has_another_key() -> None:
    keys = RedisKeys("c", "k")
    others = [RedisKeys("d", "k"), RedisKeys("c", "l")]
    chunk_keys = [Key(), Key(dataset="f"), Key(attempt_id=UUID(int=1)), Key(bucket=3), Key(chunk=42)]
    redis_keys = [other.chunk(Key()) for other in others] + [keys.chunk(chunk_key) for chunk_key in chunk_keys]
    assert len(set(redis_keys)) == len(redis_keys)


def test_each_tile_has_a_key_of_its_own_in_the_raw_form() -> None:
    key = RedisKeys("Millrace", "millrace").raw(Key(), 3)
    assert key == "millrace:Millrace:millrace:raw:flights:00112233445566778899aabbccddeeff:2:41:3"


def test_a_value_is_named_in_the_ledger_by_its_key_without_the_prefix() -> None:
    keys = RedisKeys("Test Cluster", "k")
    assert keys.value(keys.chunk(Key())) == f"chunk:flights:{ATTEMPT_ID.hex}:2:41"
    assert keys.value(keys.raw(Key(), 3)) == f"raw:flights:{ATTEMPT_ID.hex}:2:41:3"
    assert keys.ledger("parts") == "millrace:Test Cluster:k:parts"


def test_pattern_characters_in_a_cluster_name_are_escaped() -> None:
    prefix = r"millrace:a\*\[b\]\?:k"
    keys = RedisKeys("a*[b]?", "k")
    assert keys.all_values("flights") == [f"{prefix}:chunk:flights:*", f"{prefix}:raw:flights:*"]
    assert keys.all_values() == [f"{prefix}:chunk:*:*", f"{prefix}:raw:*:*"]


@given(sizes=st.lists(st.integers(1, 50), min_size=1, max_size=12), data=st.data())
def test_ranges_hold_exactly_the_bytes_of_the_tiles(sizes: list[int], data: st.DataObject) -> None:
    tiles = sorted(data.draw(st.sets(st.integers(0, len(sizes) - 1))))
    value = [tile for tile, size in enumerate(sizes) for _ in range(size)]
    ranges = byte_ranges(sizes, tiles)
    assert [tile for start, end in ranges for tile in value[start:end]] == [t for t in tiles for _ in range(sizes[t])]
    assert all(before[1] < after[0] for before, after in pairwise(ranges))


def test_a_tile_in_raw_form_has_a_key_of_its_own() -> None:
    keys = RedisKeys("Millrace", "millrace")
    assert keys.raw(Key(), 3) == "millrace:Millrace:millrace:raw:flights:00112233445566778899aabbccddeeff:2:41:3"
