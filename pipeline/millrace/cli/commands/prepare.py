"""``millrace prepare``: make training data from datasets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from millrace.cli.commands.load import run_id_option, show_report_warnings
from millrace.cli.invocation import Invocation, json_option, open_store, pass_invocation, strict_option
from millrace.cli.output import print_facts, say
from millrace.cli.reporting import reported
from millrace.display import human_bytes
from millrace.names import new_run_id

if TYPE_CHECKING:
    from millrace.api import Store
    from millrace.training import PreparePlan, Preview


@click.command(short_help="Make training data from datasets.")
@click.argument("name")
@click.option("--file", metavar="F", help="The file that declares it. Default: the setting training.file.")
@click.option(
    "--input",
    "inputs",
    multiple=True,
    metavar="ALIAS=VERSION",
    help="Use this version or tag of an input, as in flights=12.",
)
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), help="Replace the seed of the declaration.")
@click.option("--force", is_flag=True, help="Make a version although inputs and declaration are unchanged.")
@run_id_option
@click.option("--dry-run", is_flag=True, help="Show the columns, the bytes to fetch and the disk space; write nothing.")
@click.option("--head", type=click.IntRange(1, 1000), metavar="N", help="With --dry-run: also the first rows.")
@strict_option
@json_option
@pass_invocation
def command(invocation: Invocation, /, name: str, **given: Any) -> None:
    """Prepare the training dataset NAME as its DAG does, and print the report.

    The file of declared training data gives the inputs, the query and the splits: see docs/prepare.md. The version is
    visible as a whole or not at all. Inputs and a declaration that are unchanged since the latest version make no
    version, and the exit code is 0.

    --dry-run --head N runs the query over at most 100,000 rows of each input, so a join may find fewer rows.

    JSON: the load report (docs/load-report.schema.json); training has inputs, rows_in, dropped, splits, classes,
    spilled_bytes and changes. With --dry-run: dataset, inputs, columns, disk_bytes, one_thread, head, sampled.

    \b
    Example:
      millrace prepare late_arrivals
      millrace prepare late_arrivals --input flights=12 --seed 7
      millrace prepare mine --file my.yaml --dry-run --head 20
    """
    if given["head"] and not given["dry_run"]:
        raise click.UsageError("--head needs --dry-run")
    versions = dict(map(_input, given["inputs"]))
    with open_store(invocation) as store:
        entry = store.training_entry(name, file=given["file"])
        choice = {"entry": entry, "versions": versions, "seed": given["seed"]}
        if given["dry_run"]:
            _dry_run(invocation, store, name, choice, given["head"])
        else:
            _prepare(invocation, store, name, choice, given)


def _input(text: str) -> tuple[str, str]:
    alias, separator, version = text.partition("=")
    if not (alias and separator and version):
        raise click.UsageError(f"--input {text!r} is not ALIAS=VERSION")
    return alias, version


def _prepare(invocation: Invocation, store: Store, name: str, choice: dict[str, Any], given: dict[str, Any]) -> None:
    run = given["run_id"] or new_run_id(name)
    interrupts = invocation.interrupts
    again = invocation.command_with()
    interrupts.message = f"stopped; no version of {name} was created; prepare it again with: {again}"
    interrupts.facts = {"error": "LoadInterruptedError", "dataset": name, "run": run, "command": again}

    from millrace.load import report_facts

    with reported(
        store.settings.kafka, command="prepare", dataset=name, run=run, total=None, again=given["run_id"] is not None
    ) as progress:
        report = store.prepare(
            name,
            **choice,
            force=given["force"],
            run=run,
            task=progress.task,
            publishing=_uninterrupted(invocation),
        )
    show_report_warnings(invocation, report)
    invocation.answer(report.to_json(), lambda: print_facts(report_facts(report), title=report.reference))


def _uninterrupted(invocation: Invocation) -> Callable[[PreparePlan], Any]:
    """Return a context in which a signal is handled after the version's row is written, because its result must be
    known."""

    @contextmanager
    def publishing(plan: PreparePlan) -> Iterator[None]:
        interrupts = invocation.interrupts
        interrupts.message = (
            f"stopped while {plan.dataset}@{plan.label} was being published; see: millrace versions {plan.dataset}"
        )
        with interrupts.deferred():
            yield
            interrupts.message = f"stopped; a version of {plan.dataset} had just been published"

    return publishing


def _dry_run(invocation: Invocation, store: Store, name: str, choice: dict[str, Any], head: int | None) -> None:
    plan = store.plan_preparation(name, **choice, force=True)
    preview = store.preview_preparation(plan, head=head)
    invocation.answer({**preview.to_json(), "dry_run": True}, lambda: _show(preview))


def _show(preview: Preview) -> None:
    facts: list[tuple[str, object]] = []
    for cost in preview.inputs:
        columns = f"{len(cost.columns)} columns ({', '.join(cost.columns)})" + (
            f" where {cost.filter}" if cost.filter else ""
        )
        facts.append((cost.alias, f"{cost.reference}, {cost.rows:,} rows: {columns}"))
        fetched = f"{cost.tiles:,} of {cost.tiles_of_all:,} tiles in {cost.chunks:,} chunks"
        facts.append((f"fetch {cost.alias}", f"{fetched}, {human_bytes(cost.stored_bytes)}"))
    facts.append(("result", ", ".join(f"{column} {kind}" for column, kind in preview.columns)))
    facts.append(("disk to reserve", human_bytes(preview.disk_bytes)))
    facts.append(
        ("threads of the query", "one, because its result depends on the order" if preview.one_thread else "all")
    )
    facts.append(("written", "nothing (dry run)"))
    print_facts(facts, title=preview.dataset)
    if preview.head is not None:
        from millrace.cli.preview import print_preview  # it imports pyarrow, which --help does not need

        print_preview(preview.head)
        if preview.sampled:
            say("computed from the first 100,000 rows of each input")
