"""Redis: what training needs now, as it is stored in Cassandra. Importing this package imports no client."""

from __future__ import annotations

from millrace.cache.chunk_cache import ChunkCache
from millrace.cache.entries import Admission, CacheEntry
from millrace.cache.places import Place

__all__ = ["Admission", "CacheEntry", "ChunkCache", "Place"]
