from __future__ import annotations

from typing import Any

from millrace.progress import slots
from millrace.progress.slots import EventCounts, EventSlots


def event(source: str, sequence: int) -> dict[str, Any]:
    return {"source": source, "sequence": f"{sequence:012d}"}


def test_a_newer_event_replaces_an_older_one_and_an_older_one_is_ignored() -> None:
    counts = EventCounts()
    kept = EventSlots(counts)
    for sequence in (1, 3, 2):
        kept.put(event("a", sequence))
    assert kept.take() == [event("a", 3)]
    assert (counts.delivered, counts.dropped) == (0, 0), "a replaced event is not lost"


def test_a_source_has_at_most_16_events_in_flight() -> None:
    kept = EventSlots(EventCounts())
    taken = []
    for sequence in range(1, 20):
        kept.put(event("a", sequence))
        taken += kept.take()
    assert kept.in_flight == len(taken) == slots.IN_FLIGHT_PER_SOURCE
    kept.put(event("b", 1))
    assert kept.take() == [event("b", 1)]
    kept.mark_delivered(taken[0])
    assert kept.take() == [event("a", 19)]


def test_an_event_that_is_put_back_never_replaces_a_newer_one() -> None:
    kept = EventSlots(EventCounts())
    kept.put(event("a", 1))
    (older,) = kept.take()
    assert kept.is_newest(older)
    kept.put(event("a", 2))
    assert not kept.is_newest(older)
    kept.put_back(older)
    assert kept.take() == [event("a", 2)]


def test_events_are_counted_until_none_waits_or_is_in_flight() -> None:
    counts = EventCounts()
    kept = EventSlots(counts)
    for source in ("a", "b", "c"):
        kept.put(event(source, 1))
    first, second, _ = kept.take()
    kept.mark_delivered(first)
    kept.mark_dropped(second)
    kept.put(event("d", 1))
    assert not kept.idle
    assert kept.drop_all() == 3  # b and d are dropped, and c is in flight
    assert (counts.delivered, counts.dropped, len(kept), kept.in_flight) == (1, 2, 0, 1)


def test_the_oldest_source_is_dropped_above_the_limit() -> None:
    counts = EventCounts()
    kept = EventSlots(counts)
    for number in range(slots.SLOTS_MAX + 1):
        kept.put(event(str(number), 1))
    assert (len(kept), counts.dropped) == (slots.SLOTS_MAX, 1)
    assert kept.take()[0] == event("1", 1)
