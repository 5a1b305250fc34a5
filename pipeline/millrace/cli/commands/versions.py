"""``millrace versions``: list the versions of a dataset."""

from __future__ import annotations

from typing import Any

import click

from millrace.cli.commands.tag import tags_by_version
from millrace.cli.invocation import Invocation, store_command
from millrace.cli.output import print_table, say
from millrace.display import human_bytes

_FIELDS = ("mode", "parent", "kind", "rows", "chunks", "raw_bytes", "stored_bytes", "run", "committed_at")
_COLUMNS = ("version", "tags", "mode", "parent", "rows", "chunks", "raw", "stored", "committed (UTC)")


@click.command(short_help="List the versions of a dataset, newest first.")
@click.argument("name")
@click.option(
    "--deleted", is_flag=True, help="Deleted versions that millrace undelete can restore, with the deadline of each."
)
@store_command
def command(invocation: Invocation, /, name: str, deleted: bool) -> None:
    """List every version of the dataset NAME, newest first.

    JSON: dataset and versions, a list of version, tags, mode, parent, kind, rows, chunks, raw_bytes, stored_bytes, run,
    committed_at; with --deleted also deleted_at and removed_from (the time from which fsck --delete may remove its
    data).

    \b
    Example:
      millrace versions flights
      millrace versions flights --deleted
    """
    from millrace.store import GRACE

    versions = invocation.store.versions(name, deleted=deleted)
    tags = tags_by_version(invocation.store.tags(name))
    facts: list[dict[str, Any]] = [
        {
            "version": version.label,
            "tags": tags.get(version.label, []),
            **{field: getattr(version, field) for field in _FIELDS},
            **(
                {"deleted_at": version.deleted_at, "removed_from": version.deleted_at + GRACE}
                if version.deleted_at
                else {}
            ),
        }
        for version in versions
    ]

    def show() -> None:
        if deleted and not versions:
            say(f"{name} has no deleted version that millrace undelete can restore")
            return
        kept_until = ["kept until (UTC)"] if deleted else []
        print_table(
            [*_COLUMNS, *kept_until, "run"],
            [
                (
                    v["version"],
                    ", ".join(v["tags"]),
                    v["mode"],
                    v["parent"] or "",
                    v["rows"],
                    v["chunks"],
                    human_bytes(v["raw_bytes"]),
                    human_bytes(v["stored_bytes"]),
                    f"{v['committed_at']:%Y-%m-%d %H:%M:%S}",
                    *(f"{v['removed_from']:%Y-%m-%d %H:%M:%S}" for _ in kept_until),
                    v["run"],
                )
                for v in facts
            ],
            right=["rows", "chunks", "raw", "stored"],
            spare=["chunks", "raw", "parent", "mode", "stored"],
        )

    invocation.answer({"dataset": name, "versions": facts}, show)
