"""``millrace versions``: list the versions of a dataset."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from millrace.cli.commands.tag import tags_by_version
from millrace.cli.invocation import Invocation, json_option, pass_invocation, strict_option
from millrace.cli.output import print_table, say
from millrace.cli.store import open_store
from millrace.display import human_bytes

if TYPE_CHECKING:
    from datetime import datetime

    from millrace.store import Version


_FIELDS = ("mode", "parent", "kind", "rows", "chunks", "raw_bytes", "stored_bytes", "run", "committed_at")


@click.command(short_help="List the versions of a dataset, newest first.")
@click.argument("name")
@click.option(
    "--deleted", is_flag=True, help="Deleted versions that millrace undelete can restore, with the deadline of each."
)
@strict_option
@json_option
@pass_invocation
def command(invocation: Invocation, /, name: str, deleted: bool) -> None:
    """List every version of the dataset NAME, newest first.

    JSON: dataset and versions, a list of version, tags, mode, parent, kind, rows, chunks, raw_bytes, stored_bytes, run,
    committed_at; with --deleted also deleted_at and removed_from (when a sweep may remove its data).

    \b
    Example:
      millrace versions flights
      millrace versions flights --deleted
    """
    with open_store(invocation) as store:
        versions = store.versions(name, deleted=deleted)
        tags = tags_by_version(store.tags(name))
        facts: list[dict[str, Any]] = [
            {
                "version": version.label,
                "tags": tags.get(version.label, []),
                **{field: getattr(version, field) for field in _FIELDS},
                **_removal(version),
            }
            for version in versions
        ]

        def show() -> None:
            if deleted and not versions:
                say(f"no deletion of {name} can be taken back")
                return
            print_table(
                [
                    "version",
                    "tags",
                    "mode",
                    "parent",
                    "rows",
                    "chunks",
                    "raw",
                    "stored",
                    "committed (UTC)",
                    *(["kept until (UTC)"] if deleted else []),
                    "run",
                ],
                [
                    (
                        v.label,
                        ", ".join(tags.get(v.label, [])),
                        v.mode,
                        v.parent or "",
                        v.rows,
                        v.chunks,
                        human_bytes(v.raw_bytes),
                        human_bytes(v.stored_bytes),
                        f"{v.committed_at:%Y-%m-%d %H:%M:%S}",
                        *(f"{moment:%Y-%m-%d %H:%M:%S}" for moment in list(_removal(v).values())[1:]),
                        v.run,
                    )
                    for v in versions
                ],
                right=["rows", "chunks", "raw", "stored"],
                spare=["chunks", "raw", "parent", "mode", "stored"],
            )

        invocation.answer({"dataset": name, "versions": facts}, show)


def _removal(version: Version) -> dict[str, datetime]:
    """Return the time of a version's deletion, and the time from which a sweep may remove its data."""
    from millrace.store import GRACE

    if version.deleted_at is None:
        return {}
    return {"deleted_at": version.deleted_at, "removed_from": version.deleted_at + GRACE}
