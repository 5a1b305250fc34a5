"""``millrace versions``: every version of a dataset."""

from __future__ import annotations

from typing import Any

import click

from pipeline.cli.invocation import Invocation, json_option, pass_invocation, strict_option
from pipeline.cli.output import human_bytes, print_table
from pipeline.cli.store import open_store

__all__ = ["command"]

_FIELDS = ("mode", "parent", "kind", "rows", "chunks", "raw_bytes", "stored_bytes", "run", "committed_at")


@click.command(short_help="List the versions of a dataset, newest first.")
@click.argument("name")
@strict_option
@json_option
@pass_invocation
def command(invocation: Invocation, /, name: str) -> None:
    """List every version of the dataset NAME, newest first.

    JSON: dataset and versions, a list of version, mode, parent, kind, rows, chunks, raw_bytes, stored_bytes, run,
    committed_at.

    \b
    Example:
      millrace versions flights
    """
    with open_store(invocation) as store:
        versions = store.versions(name)
        facts: list[dict[str, Any]] = [
            {"version": version.label, **{field: getattr(version, field) for field in _FIELDS}} for version in versions
        ]

        def show() -> None:
            print_table(
                ["version", "mode", "parent", "rows", "chunks", "raw", "stored", "committed (UTC)", "run"],
                [
                    (
                        v.label,
                        v.mode,
                        v.parent or "",
                        v.rows,
                        v.chunks,
                        human_bytes(v.raw_bytes),
                        human_bytes(v.stored_bytes),
                        f"{v.committed_at:%Y-%m-%d %H:%M:%S}",
                        v.run,
                    )
                    for v in versions
                ],
                right=["rows", "chunks", "raw", "stored"],
            )

        invocation.answer({"dataset": name, "versions": facts}, show)
