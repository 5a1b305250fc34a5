from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sse_bridge.filters import Labels
from sse_bridge.ring import Entry, Ring, RingLimits


def entry(partition: int, offset: int, after: tuple[int, ...]) -> Entry:
    labels = Labels("d", "r", "t", "-1", "flights", "load")
    return Entry(f"s{partition}", labels, partition, offset, after, "2026-11-22T10:00:00Z", b"{}", b"data")


def ring_of(partitions: list[int], limits: RingLimits) -> Ring:
    ring = Ring(limits, 1, (0, 0))
    after = [0, 0]
    for partition in partitions:
        after[partition] += 1
        ring.append([entry(partition, after[partition] - 1, (after[0], after[1]))])
    return ring


@given(st.lists(st.sampled_from([0, 1]), max_size=60), st.integers(0, 60), st.integers(0, 60))
def test_the_first_unseen_entry_is_the_first_that_a_client_has_not_reached(
    partitions: list[int], first: int, second: int
) -> None:
    ring = ring_of(partitions, RingLimits())
    offsets = (first, second)
    number = ring.first_unseen(offsets)
    before = [each for each in ring.entries_from(ring.tail) if each not in ring.entries_from(number)]
    assert all(each.offset < offsets[each.partition] for each in before)
    if ring.continues(number, offsets):
        assert all(each.offset >= offsets[each.partition] for each in ring.entries_from(number))


def test_the_oldest_offsets_follow_the_removed_entries() -> None:
    ring = ring_of([0, 0, 1] * 10, RingLimits(events=6))
    kept = ring.entries_from(ring.tail)
    assert len(kept) == len(ring) == ring.head - ring.tail == 6
    for partition in (0, 1):
        assert ring.oldest[partition] == min(each.offset for each in kept if each.partition == partition)
