"""Redis cache of chunks for training, with the same bytes as in Cassandra.

Importing this package does not import the Redis client.
"""

from millrace.cache.chunk_cache import ChunkCache
from millrace.cache.values import Form

__all__ = ["ChunkCache", "Form"]
