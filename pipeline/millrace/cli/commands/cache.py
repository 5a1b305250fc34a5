"""``millrace cache``: show the content of Redis."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from millrace.cli.invocation import Invocation, json_option, open_cache, open_store, pass_invocation
from millrace.cli.output import print_facts, print_table
from millrace.display import human_bytes

if TYPE_CHECKING:
    from millrace.cache import CachedPart


@click.command(short_help="Show the contents of the Redis cache.")
@json_option
@pass_invocation
def command(invocation: Invocation, /) -> None:
    """Show the versions in Redis, its memory in use and its limit.

    A version may be there in several parts: in the stored and in the raw form, of one split, or with some columns. Of a
    version that does not fit, the first chunks are there. A version with a pin is in use by a job and is not evicted.

    JSON: address, version, used_memory, maxmemory (bytes; 0: no limit), policy, and entries, a list of dataset,
    version, form (stored or raw), split and columns (null: all), chunks, total_chunks, share (from 0 to 1), bytes,
    admitted_at, warmed_at (null while it is being filled), pins (their holders), jobs (that opened the version in the
    last 7 days).

    \b
    Example:
      millrace cache
    """
    with open_store(invocation) as store:
        cache = open_cache(store)
        redis, parts, pins, uses = cache.ping(), cache.parts(), cache.pins(), cache.uses()

        def show() -> None:
            limit = human_bytes(redis["maxmemory"]) if redis["maxmemory"] else "no limit"
            print_facts(
                [
                    ("Redis", f"{redis['version']} at {redis['address']}"),
                    ("memory", f"{human_bytes(redis['used_memory'])} of {limit} ({redis['policy']})"),
                    ("versions", len({part.name for part in parts})),
                ]
            )
            if parts:
                print_table(
                    ["version", "form", "part", "chunks", "share", "bytes", "pins", "warmed (UTC)"],
                    [
                        (
                            part.name,
                            part.form,
                            _part(part),
                            part.chunks,
                            f"{part.share:.0%}",
                            human_bytes(part.bytes),
                            len(pins.get(part.name, ())),
                            f"{part.warmed_at:%Y-%m-%d %H:%M:%S}" if part.warmed_at else "being filled",
                        )
                        for part in parts
                    ],
                    right=["chunks", "share", "bytes", "pins"],
                    folding=["part"],
                )

        entries = [
            {**part.to_json(), "pins": pins.get(part.name, []), "jobs": sorted(uses.get(part.name, {}))}
            for part in parts
        ]
        invocation.answer({**redis, "entries": entries}, show)


def _part(part: CachedPart) -> str:
    """Return the split and the columns of a part, for display."""
    columns = ", ".join(part.columns) if part.columns is not None else "all columns"
    return columns if part.split is None else f"{part.split}: {columns}"
