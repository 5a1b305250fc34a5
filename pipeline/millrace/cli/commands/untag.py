"""``millrace untag``: remove a tag."""

from __future__ import annotations

import click

from millrace.cli.invocation import Invocation, json_option, pass_invocation, strict_option
from millrace.cli.output import print_facts
from millrace.cli.store import open_store


@click.command(short_help="Remove a tag; the version stays.")
@click.argument("name")
@click.argument("tag")
@strict_option
@json_option
@pass_invocation
def command(invocation: Invocation, /, name: str, tag: str) -> None:
    """Remove the tag TAG of the dataset NAME; the version that had it stays.

    JSON: dataset, tag, version (that had it).

    \b
    Example:
      millrace untag flights good
    """
    with open_store(invocation) as store:
        before = store.tags(name).get(tag)
        store.untag(name, tag)
        facts = {"dataset": name, "tag": tag, "version": before}
        invocation.answer(facts, lambda: print_facts([("taken away", tag), ("from", before or "")], title=name))
