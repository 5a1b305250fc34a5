"""Send large values to Redis without copying them.

redis-py's private ``PythonRespSerializer`` passes a large value to the socket as it is. SET of 4.9 MB: 2,493 MB/s, and
440 MB/s with the packer of hiredis, which copies the value and is used outside the tested versions.
"""

from __future__ import annotations

from typing import Any

from millrace.compat.versions import REDIS

_JOINED_BYTES_MAX = 6000
"""Size up to which values are joined to one buffer, as in redis-py."""


def large_value_packer() -> Any:
    """Return the ``command_packer`` of a connection, or None for redis-py's own choice."""
    if not REDIS.is_installed():
        return None
    from redis.connection import PythonRespSerializer

    return PythonRespSerializer(_JOINED_BYTES_MAX, _encode)


def _encode(value: Any) -> Any:
    return value.encode() if isinstance(value, str) else str(value).encode() if isinstance(value, int) else value
