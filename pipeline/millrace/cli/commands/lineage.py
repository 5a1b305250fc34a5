"""``millrace lineage``: show the versions that a version was made from, and those made from it."""

from __future__ import annotations

import click

from millrace.cli.invocation import Invocation, store_command
from millrace.cli.output import print_lines


@click.command(short_help="Show the versions that a version was made from and into.")
@click.argument("name", metavar="NAME[@VERSION]")
@store_command
def command(invocation: Invocation, /, name: str) -> None:
    """Show the versions that a version was made from, and the visible ones that were made from it, as two trees.

    Training data is made from other datasets, and a model from training data. The state of an input that is not visible
    is shown: deleted (undelete may restore it), withdrawn (by its own load) or removed. A version that occurs again has
    its own tree only once.

    JSON: version, made_from (the direct inputs by alias), made_into (the versions made from it directly), and versions,
    all of the graph by reference: state (visible, deleted, withdrawn or removed), inputs, rows, committed_at.

    \b
    Example:
      millrace lineage late_arrivals
      millrace lineage flights@12 --json
    """
    graph = invocation.store.lineage(name)
    invocation.answer(graph.to_json(), lambda: print_lines(graph.text()))
