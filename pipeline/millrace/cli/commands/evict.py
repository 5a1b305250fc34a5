"""``millrace evict``: remove a dataset or a version from Redis."""

from __future__ import annotations

import click

from millrace.cli.invocation import Invocation, json_option, open_cache, open_store, pass_invocation, strict_option
from millrace.cli.output import print_facts
from millrace.names import parse_reference


@click.command(short_help="Remove a dataset, or one version, from the Redis cache.")
@click.argument("name", metavar="NAME[@VERSION]")
@strict_option
@json_option
@pass_invocation
def command(invocation: Invocation, /, name: str) -> None:
    """Remove the chunks of NAME from Redis, in every form; Cassandra keeps them, and reads continue from there.

    Without a version, every chunk of the dataset is removed. With one, chunks that another cached version shares stay.
    The command fails if a running job has pinned the version.

    JSON: reference, chunks (the number removed).

    \b
    Example:
      millrace evict flights
      millrace evict flights@2
    """
    dataset, _ = parse_reference(name)
    with open_store(invocation) as store:
        version = store.version(name) if "@" in name else None
        chunks = open_cache(store).evict(dataset, version.label if version else None)
        if not chunks and version is None:
            store.versions(dataset)  # raises for an unknown dataset; a deleted one may still be in Redis
        reference = version.reference if version else dataset
        invocation.answer(
            {"reference": reference, "chunks": chunks},
            lambda: print_facts([("chunks removed", chunks)], title=reference),
        )
