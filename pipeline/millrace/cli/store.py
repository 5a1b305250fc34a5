"""Open a store, and its cache, for the duration of one command."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from millrace.cli.invocation import Invocation
from millrace.errors import CacheError

if TYPE_CHECKING:
    from millrace.api import Store
    from millrace.cache import ChunkCache
    from millrace.settings import Settings


@contextmanager
def open_store(invocation: Invocation, settings: Settings | None = None) -> Iterator[Store]:
    """Connect a store and close it after the block; ``invocation`` learns from it whether a node was down."""
    import pyarrow as pa

    from millrace.api import Store
    from millrace.settings import load_settings

    # pyarrow would replace the handlers of ``Interrupts`` during its own reads.
    pa.enable_signal_handlers(False)
    with Store.connect(settings or load_settings()) as store:
        invocation.store = store
        yield store


def open_cache(store: Store) -> ChunkCache:
    """Return the store's cache once it has responded; raise ``CacheError`` if it is down or switched off."""
    if store.cache is None:
        raise CacheError("no cache is configured", hint=store.settings.redis.switched_off)
    store.cache.ping()
    return store.cache
