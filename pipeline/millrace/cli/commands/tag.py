"""``millrace tag``: give a version a name that can be moved."""

from __future__ import annotations

from collections.abc import Mapping

import click

from millrace.cli.invocation import Invocation, store_command
from millrace.cli.output import print_facts


@click.command(short_help="Give a version a name that can be moved.")
@click.argument("name", metavar="NAME[@VERSION]")
@click.argument("tag")
@store_command
def command(invocation: Invocation, /, name: str, tag: str) -> None:
    """Give a version the name TAG, by which it can be selected. If another version has this tag, move it.

    A version with a tag is neither deleted nor pruned. Only delete --with-derived removes it, after it has listed it.

    JSON: dataset, version, tag, before (the version that had the tag, or null).

    \b
    Example:
      millrace tag flights@12 good
      millrace read flights@good
    """
    version = invocation.store.version(name)
    before = invocation.store.tags(version.dataset).get(tag)
    invocation.store.tag(version.reference, tag)
    moved = f" (moved from {before})" if before not in (None, version.label) else ""
    facts = {"dataset": version.dataset, "version": version.label, "tag": tag, "before": before}
    invocation.answer(facts, lambda: print_facts([("tag", f"{tag}{moved}")], title=version.reference))


def tags_by_version(tags: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the tags (name to label) of a dataset by label, in order."""
    tags_of: dict[str, list[str]] = {}
    for tag, label in sorted(tags.items()):
        tags_of.setdefault(label, []).append(tag)
    return tags_of
