"""The state of the Kafka broker for the sink: whether it responds, and the time for which flushes may wait for it."""

from __future__ import annotations

import logging
from typing import Final

logger = logging.getLogger("millrace.progress")

REFUSED_WAIT_S: Final = 0.5
UNRESPONSIVE_WAIT_S: Final = 4.0
"""Time that all flushes together wait for a broker that refuses connections, or accepts them and is unresponsive."""


class BrokerState:
    """The last response or error of the broker. One warning for each sink says that progress is not sent."""

    def __init__(self, servers: str) -> None:
        self._servers = servers
        self._warned = False
        self.reset()

    def reset(self) -> None:
        """Forget responses and errors, for the connection of a forked child."""
        self.responsive = self._refused = False
        self._reason = "does not respond"
        self._waited_s = 0.0

    def mark_responsive(self) -> None:
        """Record a response; later flushes get their full waiting time again."""
        self.responsive, self._refused, self._waited_s = True, False, 0.0

    def mark_refused(self, reason: str) -> None:
        """Record that events cannot be sent, and why."""
        self._refused, self._reason = True, reason

    def mark_unreachable(self) -> None:
        """Record that no broker can be reached."""
        self.responsive = False
        self.mark_refused("does not respond")

    def mark_rejected(self, reason: str) -> None:
        """Record that the broker did not accept an event."""
        self.responsive, self._reason = False, f"did not accept an event ({reason})"

    def wait_left_s(self) -> float:
        """Return the time that flushes may still wait."""
        if self.responsive:
            return 60.0
        return (REFUSED_WAIT_S if self._refused else UNRESPONSIVE_WAIT_S) - self._waited_s

    def add_wait(self, seconds: float) -> None:
        """Count the time of a flush, unless the broker responds."""
        if not self.responsive:
            self._waited_s += seconds

    def warn(self) -> None:
        """Log once that progress is not sent, and why."""
        if not self._warned:
            self._warned = True
            logger.warning(
                "progress is not being reported: Kafka at %s %s; the work continues", self._servers, self._reason
            )
