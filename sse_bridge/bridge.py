"""The bridge at run time: passes the messages of the consumer's thread to the hub and the streams."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections import deque
from types import FrameType
from typing import Any

import gevent

from millrace.settings import Settings
from sse_bridge.consumer import Batch, Begin, BrokerDown, BrokerUp, KafkaFeed
from sse_bridge.hub import Hub
from sse_bridge.metrics import Metrics
from sse_bridge.streams import Streams

logger = logging.getLogger(__name__)

MESSAGES_PER_TURN = 4
"""Messages handled before the event loop may run other callbacks."""


class Bridge:
    """One consumer, one hub and all streams of one process.

    Call ``start`` in the process that serves (after a fork) and on its event loop.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.hub = Hub(settings.bridge, time.time)
        self.metrics = Metrics(self.hub)
        self.streams = Streams(self.hub, settings.bridge, self.metrics)
        self._inbox: deque[Any] = deque()
        self._feed: KafkaFeed | None = None
        self._async: Any = None
        self._ticker: Any = None

    def start(self) -> None:
        """Start to read Kafka; returns at once."""
        self._async = gevent.get_hub().loop.async_()
        self._async.start(self._drain)
        self._feed = KafkaFeed(self.settings.kafka, self._inbox, self._async.send)
        self._feed.start()
        self._ticker = gevent.spawn(self._tick)

    def stop(self) -> None:
        """End the consumer and all streams."""
        if self._feed is not None:
            self._feed.stop()
        self.streams.drain()
        if self._ticker is not None:
            self._ticker.kill(block=False)

    def chain_sigterm(self) -> None:
        """Install a SIGTERM handler that ends the streams and then calls the server's own handler."""
        server_handler = signal.getsignal(signal.SIGTERM)
        owner = os.getpid()

        def on_sigterm(number: int, frame: FrameType | None) -> None:
            if os.getpid() == owner:
                # A signal handler may interrupt any code, so the event loop runs the work as a callback.
                gevent.get_hub().loop.run_callback_threadsafe(self.stop)
            if callable(server_handler):
                server_handler(number, frame)

        if callable(server_handler):
            signal.signal(signal.SIGTERM, on_sigterm)

    def _drain(self) -> None:
        for _ in range(MESSAGES_PER_TURN):
            if not self._inbox:
                return
            message = self._inbox.popleft()
            try:
                self.handle(message)
            except Exception:
                # One bad batch must not stop the loop; the state is then behind until the next event.
                logger.exception(
                    "could not handle a %s message; its records are missing until their tasks report again",
                    type(message).__name__,
                )
        if self._inbox:
            self._async.send()

    def handle(self, message: object) -> None:
        """Handle one message of the consumer's thread."""
        hub = self.hub
        if isinstance(message, Batch):
            entries, revived = hub.apply(message.records)
            became_ready = message.caught_up and hub.mark_caught_up()
            if hub.ready:
                self.streams.publish(entries)
            if revived or became_ready:
                self.streams.send_liveness()
        elif isinstance(message, BrokerUp | BrokerDown):
            was_connected = hub.kafka_connected
            if isinstance(message, BrokerDown):
                hub.mark_disconnected(message.reason)
            else:
                hub.mark_connected(message.requested_s)
            if hub.kafka_connected != was_connected:
                if not hub.kafka_connected:
                    logger.warning(
                        "Kafka does not respond (%s); no task is marked as stalled or lost until it does",
                        hub.disconnect_reason,
                    )
                self.streams.send_liveness()
        elif isinstance(message, Begin):
            hub.begin(message.epoch, message.first_offsets)

    def _tick(self) -> None:
        while True:
            gevent.sleep(1.0)
            try:
                if self.hub.update_timeouts():
                    self.streams.send_liveness()
                self.streams.tick()
            except Exception:  # the ticker must survive: dead clients would stay for ever
                logger.exception("the periodic checks failed; they run again in a second")
