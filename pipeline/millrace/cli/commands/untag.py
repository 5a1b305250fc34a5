"""``millrace untag``: remove a tag."""

from __future__ import annotations

import click

from millrace.cli.invocation import Invocation, store_command
from millrace.cli.output import print_facts


@click.command(short_help="Remove a tag; the version stays.")
@click.argument("name")
@click.argument("tag")
@store_command
def command(invocation: Invocation, /, name: str, tag: str) -> None:
    """Remove the tag TAG of the dataset NAME; the version that had it stays.

    JSON: dataset, tag, version (that had it).

    \b
    Example:
      millrace untag flights good
    """
    before = invocation.store.tags(name).get(tag)
    invocation.store.untag(name, tag)
    facts = {"dataset": name, "tag": tag, "version": before}
    invocation.answer(facts, lambda: print_facts([("removed tag", tag), ("from", before or "")], title=name))
