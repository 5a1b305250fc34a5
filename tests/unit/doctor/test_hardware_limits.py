"""The measurements of the hardware leave nothing behind, even if the process ends before it cleans up."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import SecretStr

from millrace.cache import ChunkCache
from millrace.doctor import hardware_limits
from millrace.settings import RedisSettings


class RecordingRedis:
    """A Redis client that records the options of every ``SET``."""

    def __init__(self) -> None:
        self.sets: list[dict[str, Any]] = []

    def set(self, key: str, value: bytes, **options: Any) -> bool:
        self.sets.append(options)
        return True

    def unlink(self, *keys: str) -> int:
        raise KeyboardInterrupt


def test_every_probe_key_in_redis_expires_if_the_process_ends_before_it_deletes_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    redis = RecordingRedis()
    monkeypatch.setattr(ChunkCache, "_call", lambda _cache, question, _otherwise, **_options: question(redis))
    monkeypatch.setattr(ChunkCache, "ping", lambda _cache: {})
    monkeypatch.setattr(ChunkCache, "get", lambda _cache, _place, _sizes, _tiles: [memoryview(b"")])
    settings: Any = SimpleNamespace(redis=redis_settings(), cassandra=SimpleNamespace(keyspace="ks"))
    with pytest.raises(KeyboardInterrupt):
        list(hardware_limits._redis(settings, value_bytes=10))
    assert redis.sets == [{"ex": 300}] * 8


def redis_settings() -> Any:
    return RedisSettings(url=SecretStr("redis://127.0.0.1:1/0"))
