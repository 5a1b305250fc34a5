"""``millrace cache``: show the content of Redis."""

from __future__ import annotations

from dataclasses import asdict

import click

from millrace.cli.invocation import Invocation, json_option, open_cache, open_store, pass_invocation
from millrace.cli.output import print_facts, print_table
from millrace.display import human_bytes


@click.command(short_help="Show the contents of the Redis cache.")
@json_option
@pass_invocation
def command(invocation: Invocation, /) -> None:
    """Show the versions in Redis, its memory in use and its limit.

    JSON: address, version, used_memory, maxmemory (bytes; 0: no limit), policy, and entries, a list of dataset,
    version, chunks, bytes (stored), admitted_at, warmed_at (null while it is being filled).

    \b
    Example:
      millrace cache
    """
    with open_store(invocation) as store:
        cache = open_cache(store)
        redis = cache.ping()
        entries = cache.entries()

        def show() -> None:
            limit = human_bytes(redis["maxmemory"]) if redis["maxmemory"] else "no limit"
            print_facts(
                [
                    ("Redis", f"{redis['version']} at {redis['address']}"),
                    ("memory", f"{human_bytes(redis['used_memory'])} of {limit} ({redis['policy']})"),
                    ("versions", len(entries)),
                ]
            )
            if entries:
                print_table(
                    ["version", "chunks", "stored", "warmed (UTC)"],
                    [
                        (
                            entry.name,
                            entry.chunks,
                            human_bytes(entry.bytes),
                            f"{entry.warmed_at:%Y-%m-%d %H:%M:%S}" if entry.warmed_at else "being filled",
                        )
                        for entry in entries
                    ],
                    right=["chunks", "stored"],
                )

        invocation.answer({**redis, "entries": [asdict(entry) for entry in entries]}, show)
