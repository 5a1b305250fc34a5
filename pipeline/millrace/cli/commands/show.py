"""``millrace show``: show one version in full."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from millrace.cli.commands.tag import tags_by_version
from millrace.cli.invocation import Invocation, store_command
from millrace.cli.output import print_facts, print_table
from millrace.cli.recipe import print_recipe
from millrace.display import human_bytes

if TYPE_CHECKING:
    from millrace.api import Store
    from millrace.store import Version

_SHOWN: Final = 5


@click.command(short_help="Show one version: schema, sizes, replicas, source, run.")
@click.argument("name", metavar="NAME[@VERSION]")
@store_command
def command(invocation: Invocation, /, name: str) -> None:
    """Show the content of a version, its source, and whether every chunk is on two nodes.

    VERSION is a number, a full version (12-3fa9c1), latest, a tag or a time (2026-11-22T10:00:47, in UTC). A time
    selects the version that is listed with it, or else the latest version at that time. If several versions have the
    number or the time, the command fails and lists their full names.

    JSON: dataset, version, tags, made_from (the versions that it was made from, by alias), made_into (the visible
    versions that were made from it directly), kind, mode, parent, rows, raw_bytes, stored_bytes, chunks,
    largest_chunk_bytes (stored), replicas (1 if any data is under-replicated), under_replicated (a list of attempt_id,
    bucket, chunks; bucket -1: manifest pages, -2: catalogue rows), schema (name, type, nullable), recipe (of training
    data, else null: docs/format.md), source, settings, run, code, committed_at.

    \b
    Example:
      millrace show flights
      millrace show flights@2 --json
    """
    version = invocation.store.version(name)
    facts = describe(invocation.store, version)
    if facts["under_replicated"]:
        count = _on_one_node(facts)
        invocation.note_degraded(f"{version.reference} has {count} chunks or rows on one node only")
    invocation.answer(facts, lambda: _show(facts))


def describe(store: Store, version: Version) -> dict[str, Any]:
    """Return the facts of ``show --json``.

    Reads the version's row, its repair records and the rows of derived datasets, but no manifest page.
    """
    from millrace.dataset import recipe_of
    from millrace.store import Lineage

    schema = store.catalogue.pages.schema(version)
    records = store.under_replicated(version)
    lineage = Lineage.read(store.catalogue.reader.rows)
    return {
        "dataset": version.dataset,
        "version": version.label,
        "tags": tags_by_version(store.tags(version.dataset)).get(version.label, []),
        "made_from": dict(version.inputs),
        "made_into": [derived.reference for derived in lineage.made_into(version.reference)],
        "kind": version.kind,
        "mode": version.mode,
        "parent": version.parent,
        "rows": version.rows,
        "raw_bytes": version.raw_bytes,
        "stored_bytes": version.stored_bytes,
        "chunks": version.chunks,
        "largest_chunk_bytes": version.largest_chunk_bytes,
        "replicas": 1 if records else store.settings.cassandra.replication_factor,
        "under_replicated": [
            {"attempt_id": record.attempt_id.hex, "bucket": record.bucket, "chunks": record.chunks}
            for record in records
        ],
        "recipe": None if (recipe := recipe_of(schema)) is None else recipe.to_json(),
        "schema": [{"name": f.name, "type": str(f.type), "nullable": f.nullable} for f in schema],
        "source": version.source,
        "settings": version.settings,
        "run": version.run,
        "code": version.code,
        "committed_at": version.committed_at,
    }


def _on_one_node(facts: dict[str, Any]) -> int:
    """Return the number of chunks and rows on one node only; a record without chunks is of one row."""
    return sum(max(1, record["chunks"]) for record in facts["under_replicated"])


def _first(references: list[str]) -> str:
    """Return the first references and the number of the others; ``millrace lineage`` has all of them."""
    others = len(references) - _SHOWN
    return ", ".join([*references[:_SHOWN], *([f"{others} more"] if others > 0 else [])])


def _show(facts: dict[str, Any]) -> None:
    stored, raw = facts["stored_bytes"], facts["raw_bytes"]
    ratio = f", {raw / stored:.2f} times smaller" if stored else ""
    replicas = f"{facts['replicas']} each"
    if facts["under_replicated"]:
        replicas = f"2 each, but {_on_one_node(facts):,} chunks or rows are on one node only"
    source = facts["source"]
    files = source.get("files")
    came_from = f"{source.get('uri', '')} ({source.get('format', '')}"
    came_from += f", {files:,} file{'s' if files != 1 else ''}, {human_bytes(source.get('bytes') or 0)})"
    codec = facts["settings"].get("chunks", {}).get("codec", "")
    print_facts(
        [
            ("rows", facts["rows"]),
            ("raw bytes", human_bytes(raw)),
            ("stored bytes", f"{human_bytes(stored)}{ratio} ({codec})"),
            ("chunks", f"{facts['chunks']:,}, the largest of {facts['largest_chunk_bytes']:,} stored bytes"),
            ("replicas", replicas),
            ("source", came_from),
            ("its checksum", f"CRC-32 {source['crc32']}" if "crc32" in source else "not known"),
            ("run", facts["run"]),
            ("tags", ", ".join(facts["tags"]) or "none"),
            ("mode", facts["mode"]),
            ("parent", facts["parent"] or "none"),
            ("made from", ", ".join(facts["made_from"].values()) or "its source"),
            ("made into", _first(facts["made_into"]) or "nothing"),
            ("committed", f"{facts['committed_at']:%Y-%m-%d %H:%M:%S} UTC"),
        ],
        title=f"{facts['dataset']}@{facts['version']}",
    )
    print()
    print_table(
        ["column", "type", "null"],
        [(f["name"], f["type"], "yes" if f["nullable"] else "no") for f in facts["schema"]],
        folding=["column", "type"],
    )
    if facts["recipe"]:
        print_recipe(facts["recipe"])
