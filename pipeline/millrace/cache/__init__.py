"""Redis cache of chunks for training, with the same bytes as in Cassandra.

Importing this package does not import the Redis client.
"""

from millrace.cache.admission import Warming
from millrace.cache.cached_versions import CachedForms
from millrace.cache.chunk_cache import ChunkCache
from millrace.cache.form_choice import chosen_form
from millrace.cache.ledger import Values
from millrace.cache.memory import Room, value_cost_bytes
from millrace.cache.parts import CachedPart
from millrace.cache.values import Form

__all__ = [
    "CachedForms",
    "CachedPart",
    "ChunkCache",
    "Form",
    "Room",
    "Values",
    "Warming",
    "chosen_form",
    "value_cost_bytes",
]
