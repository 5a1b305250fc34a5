"""``millrace ls``: list the datasets."""

from __future__ import annotations

from dataclasses import asdict

import click

from millrace.cli.invocation import Invocation, store_command
from millrace.cli.output import print_table, say
from millrace.display import human_bytes


@click.command(short_help="List the datasets.")
@click.argument("pattern", default="*")
@click.option("--newest", is_flag=True, help="Order by time of commit, newest first, instead of by name.")
@store_command
def command(invocation: Invocation, /, pattern: str, newest: bool) -> None:
    """List every dataset with its latest version, or those whose names match PATTERN (*, ?, [a-z]).

    JSON: datasets, a list of name, latest, versions, rows, chunks, raw_bytes, stored_bytes, committed_at.

    \b
    Example:
      millrace ls
      millrace ls 'flights_*' --newest
      millrace ls --json
    """
    infos = invocation.store.datasets(pattern)
    if newest:
        infos.sort(key=lambda info: info.committed_at, reverse=True)

    def show() -> None:
        if not infos and pattern != "*":
            say(f"no dataset matches {pattern!r}")
            return
        if not infos:
            say("no dataset yet: create one with millrace load NAME SOURCE")
            return
        print_table(
            ["dataset", "latest", "versions", "rows", "chunks", "raw", "stored", "committed (UTC)"],
            [
                (
                    info.name,
                    info.latest,
                    info.versions,
                    info.rows,
                    info.chunks,
                    human_bytes(info.raw_bytes),
                    human_bytes(info.stored_bytes),
                    f"{info.committed_at:%Y-%m-%d %H:%M:%S}",
                )
                for info in infos
            ],
            right=["versions", "rows", "chunks", "raw", "stored"],
            spare=["chunks", "raw", "versions", "stored"],
        )

    invocation.answer({"datasets": [asdict(info) for info in infos]}, show)
