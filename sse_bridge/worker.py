"""Gunicorn's gevent worker, with threads left as they are."""

from __future__ import annotations

from gevent import monkey, socket
from gunicorn.workers.ggevent import GeventWorker

__all__ = ["BridgeWorker"]


class BridgeWorker(GeventWorker):  # type: ignore[misc]  # gunicorn has no types
    """Serves on an event loop; ``threading`` and ``queue`` keep their native meaning.

    The consumer's thread waits on futures of confluent-kafka's. Green locks in a native thread would give that
    thread an event loop of its own.
    """

    def patch(self) -> None:
        """Make sockets, files and time cooperative, as gunicorn does, but not threads."""
        monkey.patch_all(thread=False, queue=False)
        self.sockets: list[socket.socket] = [
            socket.socket(each.FAMILY, socket.SOCK_STREAM, fileno=each.sock.detach()) for each in self.sockets
        ]
