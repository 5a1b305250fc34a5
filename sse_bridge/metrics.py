"""The bridge's own metrics, for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from sse_bridge.hub import Hub


class Metrics:
    """The bridge's metrics, in a registry of their own."""

    def __init__(self, hub: Hub) -> None:
        registry = self._registry = CollectorRegistry()
        self._hub = hub
        self.streams = Gauge("millrace_bridge_streams", "Open streams.", registry=registry)
        self.opened = Counter("millrace_bridge_streams_opened", "Streams opened.", registry=registry)
        self.closed = Counter(
            "millrace_bridge_streams_closed", "Streams closed, by reason.", ["reason"], registry=registry
        )
        self.refused = Counter(
            "millrace_bridge_streams_refused", "Streams refused, by the limit reached.", ["limit"], registry=registry
        )
        self.resets = Counter(
            "millrace_bridge_resets", "Snapshots sent because a cursor was unusable.", registry=registry
        )
        self.sent_bytes = Counter("millrace_bridge_sent_bytes", "Bytes of events sent.", registry=registry)
        self.produce_to_send_s = Histogram(
            "millrace_bridge_produce_to_send_seconds",
            "Time from an event's own time until it is written to a client's socket; for the newest event of a "
            "write, of one write in sixteen.",
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1, 2.5, 5, 10, 30),
            registry=registry,
        )
        events = Gauge("millrace_bridge_events", "Records read, by result.", ["result"], registry=registry)
        for result in hub.counts:
            events.labels(result).set_function(lambda result=result: hub.counts[result])  # type: ignore[misc]
        for name, text, value in (
            ("sources", "Sources whose newest event is kept.", lambda: hub.state.count),
            ("ring_events", "Events kept for clients that reconnect.", lambda: len(hub.ring)),
            ("ready", "1 once the whole topic has been read.", lambda: int(hub.ready)),
            ("kafka_connected", "1 while Kafka responds.", lambda: int(hub.kafka_connected)),
        ):
            Gauge(f"millrace_bridge_{name}", text, registry=registry).set_function(value)

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self._registry)
