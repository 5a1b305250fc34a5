"""A total time for reading from a TLS connection, whose own timeout begins again with each byte."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_thread = threading.local()
"""``end_s`` is the time by the monotonic clock at which the reads of a thread end, or None."""


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Let the reads of this thread from a ``DeadlineSocket`` end with ``TimeoutError`` after this time."""
    _thread.end_s = time.monotonic() + seconds
    try:
        yield
    finally:
        _thread.end_s = None


class DeadlineSocket(ssl.SSLSocket):
    """A TLS connection whose reads end with the time of ``within``."""

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        """Return the bytes that have arrived, at most ``buflen``."""
        end_s: float | None = getattr(_thread, "end_s", None)
        if end_s is not None:
            left_s = end_s - time.monotonic()
            if left_s <= 0:
                raise TimeoutError("the time for the response is over")
            timeout_s = self.gettimeout()
            self.settimeout(left_s if timeout_s is None else min(timeout_s, left_s))
        return super().recv(buflen, flags)


def with_deadlines(context: ssl.SSLContext) -> ssl.SSLContext:
    """Return the context, whose connections are of ``DeadlineSocket`` from now on."""
    context.sslsocket_class = DeadlineSocket
    return context
