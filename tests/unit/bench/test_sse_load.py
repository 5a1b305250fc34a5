from __future__ import annotations

from array import array

import pytest

from bench.sse_load import Client, Clients, event_of, percentile


def counting(first: int, events: int) -> tuple[Clients, Client]:
    """Return clients that only count events, without a socket."""
    clients, client = Clients.__new__(Clients), Client.__new__(Client)
    clients.first = first
    clients.sent_s = array("d", [0.0, *(float(number) for number in range(1, events + 1))])
    clients.delays_s = array("d")
    clients.delivered = clients.doubled = clients.closed = clients.begun = 0
    client.tail, client.seen, client.begun = b"", bytearray(events + 1), False
    return clients, client


@pytest.mark.parametrize("piece", [1, 7, 100, 10_000])
def test_each_event_counts_once_wherever_the_network_cuts(piece: int) -> None:
    clients, client = counting(1, 5)
    stream = b"HTTP/1.1 200 OK\r\n\r\n" + b"".join(
        b"event: progress\ndata: " + event_of(number, 50) + b"\n\n" for number in (1, 2, 3, 3, 5)
    )
    for at in range(0, len(stream), piece):
        clients._take(client, client.tail + stream[at : at + piece], 10.0)
    assert (clients.begun, clients.delivered, clients.doubled) == (1, 4, 1)
    assert sorted(clients.delays_s) == [5.0, 7.0, 8.0, 9.0]


def test_an_event_before_the_first_counted_one_is_not_a_delivery() -> None:
    clients, client = counting(3, 4)
    for number in (2, 3, 4):
        clients._take(client, client.tail + event_of(number, 0), 10.0)
    assert (clients.delivered, clients.doubled) == (2, 1)


def test_a_percentile_is_one_of_the_values() -> None:
    assert percentile([], 0.99) == 0
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2
    assert percentile(range(1000), 0.99) == 990
