"""Encoded messages that several clients share, so that each is made once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

MESSAGES_MAX = 256
SHARED_S = 0.1
"""Snapshots and liveness messages contain the time. All clients get the same bytes of them for this long."""


class MessageCache:
    """Bytes by key, until ``clear`` is called. ``clock`` returns Unix time."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.clear()

    def clear(self) -> None:
        """Remove all messages, because the state has changed."""
        self._messages: dict[tuple[Any, ...], bytes] = {}
        self._timed: dict[tuple[Any, ...], tuple[float, bytes]] = {}

    def get(self, key: tuple[Any, ...], make: Callable[[], bytes]) -> bytes:
        """Return the message of this key; ``make`` makes it for the first client that asks."""
        if key not in self._messages:
            # The cache serves clients with the same filter. If every client has its own, no message is ever reused.
            if len(self._messages) >= MESSAGES_MAX:
                self._messages.clear()
            self._messages[key] = make()
        return self._messages[key]

    def get_timed(self, key: tuple[Any, ...], make: Callable[[], bytes]) -> bytes:
        """Return a message that contains the time; it is made once for all clients that ask within ``SHARED_S``."""
        now_s = self._clock()
        made_s, message = self._timed.get(key, (0.0, b""))
        if not 0 <= now_s - made_s < SHARED_S:
            if len(self._timed) >= MESSAGES_MAX:
                self._timed.clear()
            message = make()
            self._timed[key] = (now_s, message)
        return message
