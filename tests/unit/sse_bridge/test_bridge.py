"""The bridge at run time: its inbox, the periodic checks, and SIGTERM."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import gevent
import pytest

from millrace.settings import KafkaSettings
from millrace.settings.tree import BridgeSettings, Settings
from sse_bridge.bridge import MESSAGES_PER_TURN, Bridge
from sse_bridge.consumer import Batch, Begin, BrokerDown, BrokerUp
from sse_bridge.filters import Filter
from sse_bridge.records import Incoming, parse_record
from tests.unit.sse_bridge.world import record


@pytest.fixture
def bridge() -> Iterator[Bridge]:
    """A running bridge whose Kafka refuses connections."""
    started = Bridge(Settings(bridge=BridgeSettings(), kafka=KafkaSettings(bootstrap_servers="127.0.0.1:1")))
    started.start()
    yield started
    started.stop()
    gevent.sleep(0)


def incoming(offset: int) -> Incoming:
    raw = record(sequence=offset + 1)
    return Incoming(0, offset, raw, parse_record(raw), time.time())


def wait_for(condition: Any) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        gevent.sleep(0.01)


def test_messages_of_the_thread_are_handled_in_turns_on_the_event_loop(bridge: Bridge) -> None:
    count = 3 * MESSAGES_PER_TURN
    bridge._inbox.extend([Begin("0000000a", (0,)), BrokerUp(time.time())])
    bridge._inbox.extend(Batch([incoming(offset)], caught_up=True) for offset in range(count))
    bridge._async.send()
    wait_for(lambda: bridge.hub.position == (count,))
    assert bridge.hub.ready


def test_a_message_that_cannot_be_handled_does_not_stop_the_next_ones(
    bridge: Bridge, caplog: pytest.LogCaptureFixture
) -> None:
    bridge._inbox.extend([Begin("0000000a", (0,)), Batch([None]), Batch([incoming(0)])])  # type: ignore[list-item]
    bridge._async.send()
    wait_for(lambda: bridge.hub.position == (1,))
    assert "could not handle a Batch message" in caplog.text


def test_the_periodic_checks_survive_an_error(
    bridge: Bridge, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[int] = []

    def update_timeouts() -> list[str]:
        calls.append(1)
        if len(calls) == 1:
            raise ValueError("broken")
        return ["/cli/cli/r/load/-1/1"]

    monkeypatch.setattr(bridge.hub, "update_timeouts", update_timeouts)
    stream = bridge.streams.open(
        Filter(), address="a", lines=False, last_event_id="", quiet_s=None, sock=None, chunked=False
    )
    wait_for(lambda: stream.content.liveness_due)
    assert len(calls) == 2
    assert "the periodic checks failed" in caplog.text


def test_only_a_change_of_the_connection_is_sent_to_the_streams(bridge: Bridge) -> None:
    stream = bridge.streams.open(
        Filter(), address="a", lines=False, last_event_id="", quiet_s=None, sock=None, chunked=False
    )
    for message, is_sent in (
        (BrokerUp(time.time()), True),
        (BrokerUp(time.time()), False),
        (BrokerDown("all brokers are down"), True),
        (BrokerDown("timed out"), False),
    ):
        stream.content.liveness_due = False
        bridge.handle(message)
        assert stream.content.liveness_due is is_sent
    bridge.handle("another message")


def test_sigterm_ends_the_streams_and_calls_the_handler_of_the_server(bridge: Bridge) -> None:
    signals: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _frame: signals.append(number))
    try:
        bridge.chain_sigterm()
        os.kill(os.getpid(), signal.SIGTERM)
        wait_for(lambda: bridge.streams.draining)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert signals == [signal.SIGTERM]


def test_a_default_action_of_sigterm_is_not_replaced() -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        Bridge(Settings(bridge=BridgeSettings())).chain_sigterm()
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGTERM, before)
