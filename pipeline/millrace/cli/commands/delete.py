"""``millrace delete``: delete a version, or a whole dataset."""

from __future__ import annotations

import click

from millrace.cli.deleting import confirmed, show_marked, show_sweep
from millrace.cli.invocation import Invocation, json_option, open_store, pass_invocation, strict_option
from millrace.cli.options import deletion_options
from millrace.names import parse_reference


@click.command(short_help="Delete a version, or a whole dataset.")
@click.argument("name", metavar="NAME[@VERSION]")
@click.option("--with-derived", is_flag=True, help="Also delete everything that was made from it, after asking.")
@deletion_options
@strict_option
@json_option
@pass_invocation
def command(invocation: Invocation, /, name: str, with_derived: bool, dry_run: bool, yes: bool, now: bool) -> None:
    """Delete a version, or every version of a dataset; ask before deleting a whole dataset.

    Readers no longer see a deleted version. Its data is removed by the first fsck --delete after 24 hours, unless
    another version, a reader or a running load needs it. It is removed from Redis, too; if Redis is down, the next
    warming does that. The command fails and deletes nothing if a version has a tag or is being read, if a visible
    version was made from it, or while a node is down.

    --with-derived deletes everything that was made from the version or the dataset, such as training data and models,
    before the version itself. It lists all versions and their tags, and asks once. The tags are removed. A version that
    was published or tagged since then stops the command, and nothing is deleted. Take such a deletion back by undelete
    in the opposite order, the inputs first; the tags stay removed.

    JSON: marked (the deleted versions), tags (the tags removed with them, by version; --with-derived), final (those of
    them that undelete could not restore, even without --now), garbage (dataset, attempt_id, buckets, run, reason,
    removable), waiting, removed_attempts, removed_partitions, missing, problems, dry_run, still_cached (why deleted
    versions are still in Redis, else empty).

    \b
    Example:
      millrace delete flights@2
      millrace delete flights --yes
      millrace delete flights --with-derived --dry-run
    """
    dataset, _ = parse_reference(name)
    is_dataset = "@" not in name
    with open_store(invocation) as store:
        shown = None
        if with_derived and not dry_run:
            shown = store.delete(name, whole=is_dataset, dry_run=True, with_derived=True)
            if not yes:
                show_marked(shown)
            count = len(shown.marked)
            confirmed(f"delete {f'these {count} versions' if count != 1 else 'this version'} and the tags", yes=yes)
        elif is_dataset and not dry_run and not yes:
            count = len(store.versions(dataset))
            confirmed(f"delete {dataset} with all of its {count} versions", yes=yes)
        report = store.delete(name, whole=is_dataset, now=now, dry_run=dry_run, with_derived=with_derived, shown=shown)
        invocation.answer(report.to_json(), lambda: show_sweep(report, name, now=now))
