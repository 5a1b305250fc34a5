"""Call Redis: a pool of connections behind a circuit breaker, so that its failures cost readers speed only."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from millrace.cache.circuit import Circuit
from millrace.cache.client import is_out_of_memory, make_pool, probe, shown_address
from millrace.errors import CacheError
from millrace.settings import RedisSettings

if TYPE_CHECKING:
    from redis import Redis


_log = logging.getLogger("millrace.cache")
_T = TypeVar("_T")


class RedisConnection:
    """The part of ``ChunkCache`` that calls Redis.

    The constructor does not connect; it raises ``InvalidSettingError`` for an invalid URL. After a failure Redis is not
    called for ``retry_after_s``. Connections are opened when needed, one for each active thread, and again after a
    fork. Logs to ``millrace.cache``, once for each outage.
    """

    def __init__(self, settings: RedisSettings) -> None:
        from redis import Redis

        self._pool = make_pool(settings)
        # One client for all calls: to make one takes 0.3 ms, because it prepares the parser of each command.
        self._client: Redis = Redis(connection_pool=self._pool)
        self._address = shown_address(settings)
        self._circuit = Circuit(self._address, settings.retry_after_s, lambda: probe(self._pool))
        self._full_logged = False
        self._closed = threading.Event()

    @property
    def address(self) -> str:
        """The address of Redis, without credentials."""
        return self._address

    def _call(self, command: Callable[[Redis], _T], default: _T, *, always: bool = False) -> _T:
        """Return the result of the command, or ``default`` where Redis fails or its circuit is open.

        With ``always`` the command is sent although the circuit is open.
        """
        if self._closed.is_set() or not (always or self._circuit.allows()):
            return default
        try:
            return command(self._client)
        except Exception as error:  # noqa: BLE001  # any failure of the cache: the read continues without it
            if self._closed.is_set():  # ``close`` disconnected the connection while the client was using it
                return default
            if is_out_of_memory(error):
                self._log_full()
            else:
                self._circuit.failed(error)
            return default
        finally:
            if self._closed.is_set():
                # Closed during this call: a client that lost its connection may have opened a new one.
                self._pool.disconnect()

    def _log_full(self) -> None:
        if not self._full_logged:
            self._full_logged = True
            _log.warning("the cache at %s is full; chunks that do not fit are read from Cassandra", self._address)

    def responds(self) -> bool:
        """Return whether Redis responds; each outage is logged once."""
        return self._call(lambda redis: bool(redis.ping()), False)

    def ping(self) -> dict[str, Any]:
        """Return address, version, ``used_memory``, ``maxmemory`` (bytes, 0: none) and eviction policy of Redis.

        Raises ``CacheError`` when Redis does not respond.
        """
        info: dict[str, Any] = self._call_or_raise(lambda redis: redis.info())
        return {
            "address": self._address,
            "version": info.get("redis_version", ""),
            "used_memory": int(info.get("used_memory", 0)),
            "maxmemory": int(info.get("maxmemory", 0)),
            "policy": info.get("maxmemory_policy", ""),
        }

    def _call_or_raise(self, command: Callable[[Redis], _T]) -> _T:
        try:
            return command(self._client)
        except Exception as error:  # noqa: BLE001  # also an incompatible client or server
            reason = " ".join(str(error).split()) or type(error).__name__
            raise CacheError(
                f"the cache at {self._address} does not respond ({reason})",
                hint="MILLRACE_REDIS__URL is its address; millrace doctor checks it",
                address=self._address,
            ) from None

    def close(self) -> None:
        """Close the connections; afterwards every read misses."""
        self._closed.set()
        self._pool.disconnect()
