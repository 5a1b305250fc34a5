"""``millrace evict``: remove a dataset or a version from Redis."""

from __future__ import annotations

from contextlib import suppress

import click

from millrace.cli.invocation import Invocation, json_option, open_cache, open_store, pass_invocation, strict_option
from millrace.cli.output import print_facts
from millrace.errors import DatasetNotFoundError, VersionNotFoundError
from millrace.names import parse_reference


@click.command(short_help="Remove a dataset, or one version, from the Redis cache.")
@click.argument("name", metavar="NAME[@VERSION]")
@strict_option
@json_option
@pass_invocation
def command(invocation: Invocation, /, name: str) -> None:
    """Remove the chunks of NAME from Redis; Cassandra keeps them, and reads continue from there.

    Without a version, every chunk of the dataset is removed. With one, chunks that another cached version shares stay.

    JSON: reference, chunks (the number removed).

    \b
    Example:
      millrace evict flights
      millrace evict flights@2
    """
    dataset, _ = parse_reference(name)
    with open_store(invocation) as store:
        if "@" in name:
            reference, chunks = _evict_version(invocation, name)
        else:
            reference, chunks = dataset, open_cache(store).delete_dataset(dataset)
            if not chunks:
                store.versions(dataset)  # raises for an unknown dataset; a deleted one may still be in Redis
        invocation.answer(
            {"reference": reference, "chunks": chunks},
            lambda: print_facts([("chunks removed", chunks)], title=reference),
        )


def _evict_version(invocation: Invocation, name: str) -> tuple[str, int]:
    store, cache = invocation.store, open_cache(invocation.store)
    version = store.version(name)
    shared = set()
    for entry in cache.entries():
        if entry.dataset == version.dataset and entry.version != version.label:
            with suppress(DatasetNotFoundError, VersionNotFoundError):  # deleted, and still in Redis
                other = store.version(entry.name)
                shared |= {(page.attempt_id, page.page) for page in store.catalogue.pages.refs(other)}
    chunks = 0
    for page in store.catalogue.pages.refs(version):
        if (page.attempt_id, page.page) not in shared:
            chunks += cache.delete(store.catalogue.pages.page(version.dataset, page).refs())
    cache.forget(version.dataset, version.label)
    return version.reference, chunks
