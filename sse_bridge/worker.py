"""Gunicorn's gevent worker, without monkey-patched threads."""

from __future__ import annotations

from gevent import monkey, socket
from gunicorn.workers.ggevent import GeventWorker


class BridgeWorker(GeventWorker):  # type: ignore[misc]  # gunicorn has no types
    """A worker that serves on an event loop, with native ``threading`` and ``queue``.

    The consumer's thread waits on futures of confluent-kafka. Green locks in a native thread would create an event
    loop in that thread.
    """

    def patch(self) -> None:
        """Make sockets, files and time cooperative, as gunicorn does, but not threads and queues."""
        monkey.patch_all(thread=False, queue=False)
        self.sockets: list[socket.socket] = [
            socket.socket(each.FAMILY, socket.SOCK_STREAM, fileno=each.sock.detach()) for each in self.sockets
        ]
