"""Redis: what training needs now, as it is stored in Cassandra. Importing this package imports no client."""

from __future__ import annotations

from pipeline.cache.chunk_cache import ChunkCache
from pipeline.cache.entries import Admission, CacheEntry
from pipeline.cache.places import Place

__all__ = ["Admission", "CacheEntry", "ChunkCache", "Place"]
