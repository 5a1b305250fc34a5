"""``millrace load``: load a source as a new version of a dataset."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import click

from millrace.cli.invocation import Invocation, json_option, open_store, pass_invocation, strict_option
from millrace.cli.load_options import chosen_options, load_options
from millrace.cli.output import print_facts
from millrace.cli.reporting import reported
from millrace.names import check_dataset_name, new_run_id

if TYPE_CHECKING:
    from millrace.api import Store
    from millrace.load import LoadOptions, LoadPlan, LoadReport
    from millrace.progress import ProgressTask
    from millrace.settings import Settings
    from millrace.sources import Paths, SourceWarning


_NO_TITLES: Final[Mapping[str, str]] = MappingProxyType({})
_SHOWN_ELSEWHERE = frozenset({"already_loaded", "without_progress", "without_cache"})
"""Codes of warnings that the command's table or the service's own client has shown already."""


def _run_id(text: str) -> str:
    # The id is part of the bridge's URLs, of rows and of the command that resumes the load.
    if not (0 < len(text) <= 200 and text.isprintable()):
        raise click.BadParameter("give 1 to 200 printable characters")
    return text


run_id_option = click.option(
    "--run-id",
    metavar="ID",
    type=_run_id,
    help="Name the run. Repeated with the same name, data and settings it is not done twice.",
)


@click.command(short_help="Load a source as a new version of a dataset.")
@click.argument("name")
@click.argument("source")
@load_options
@run_id_option
@click.option(
    "--resume",
    is_flag=True,
    help="Resume the last unfinished load of this source with these settings; refused if there is none.",
)
@click.option("--dry-run", is_flag=True, help="Plan, encode and measure; write nothing.")
@strict_option
@json_option
@pass_invocation
def command(invocation: Invocation, /, name: str, source: str, **given: Any) -> None:
    """Load SOURCE as a new version of the dataset NAME and print the load report.

    SOURCE is a file, a directory, a pattern in quotes, an s3://, gs:// or https:// address, or - for standard input:
    CSV, Parquet, JSON lines, Arrow or any bytes, plain or compressed. Bytes keep every file and folder. A table leaves
    out hidden files. A file is hidden if a part of its path below the source begins with . or _. Such a part does not
    count if the matching part of a pattern begins with the same character. A warning gives the number of hidden files
    and the name of one; markers such as _SUCCESS are not counted. The values in the names of folders like KEY=VALUE do
    not become columns; a warning names the keys.

    JSON: the load report, as docs/load-report.schema.json describes it, and dry_run. columns is a list of name and
    type, and columns_total is the number of columns. warnings is a list of all unexpected properties of the file and
    the load: code, message, column, line, file. The store keeps the report: see millrace report.

    --column-type, --columns and --rename use the column names of the source. In --columns and --rename, a name must be
    in double quotes if it has a comma, an =, or a blank at its start or end. The version has the new names.

    Without --null-value, in each CSV column that is not text, an empty field and these are null:

    \b
      #N/A  #N/A N/A  #NA  -1.#IND  -1.#QNAN  -NaN  -nan  1.#IND  1.#QNAN
      N/A  NA  NULL  NaN  n/a  nan  null

    A column becomes a date, a time or a timestamp if every value fits one --date-format. A format may have %Y or %y (69
    to 99 are 1969 to 1999), %m, %b or %B (English names), %d, %H or %I with %p, %M, %S, %f (a fraction), %z (then UTC).
    Other columns are read as ISO 8601. A date that does not exist is refused.

    With --max-bad-rows, rows that do not fit are set aside: a wrong number of fields, a value that does not fit its
    type, invalid JSON or UTF-8. They become a version of the dataset NAME__rejects. With more of them than that no
    version of NAME is made. millrace replay loads them again, for example with another --column-type.

    --mode incremental leaves out each file that the dataset has loaded since the last replace. A file is compared by
    its full path, size, modification time and ctime. If only times differ, its CRC-32 is compared. Without a new file
    nothing is loaded, and skipped in the JSON is unchanged.

    The version is visible as a whole or not at all. It is visible after exit code 0, or 3 with --strict. After another
    exit code it is visible only in rare cases, which the error line names. Ctrl-C stops a load within two seconds and
    prints the command that resumes it.

    \b
    Example:
      millrace load flights flights.csv --null-value NA
      millrace load prices preise.csv --delimiter ';' --decimal , --columns id,preis --rename preis=price
      millrace load visits visits.csv --column-type age=int64 --max-bad-rows 1%
      millrace load events 'events/*.jsonl.gz' --column-type id=int64 --mode append
      millrace load flights 's3://lake/flights/*.parquet' --connection lake
      millrace load orders answer.json --format json --records data.items
      millrace load sales 'sales/**/*.csv' --mode incremental
    """
    check_dataset_name(name)
    load(invocation, name, lambda settings: (source, chosen_options(settings.load, given)), given)


def load(
    invocation: Invocation,
    name: str,
    chosen: Callable[[Settings], tuple[Paths, LoadOptions]],
    given: dict[str, Any],
    *,
    warm: bool = False,
    titles: Mapping[str, str] = _NO_TITLES,
) -> None:
    """Load a dataset and print the load report. With ``warm`` a new version is put into Redis.

    ``chosen`` returns the source and the options. ``given`` has the parameters of the command: ``dry_run``, ``run_id``
    and ``resume``. Errors and warnings name the fields in ``titles`` in place of the options of ``load``.
    """
    dry_run = given["dry_run"]
    started = datetime.now(UTC)
    run, is_named = given["run_id"] or new_run_id(name), given["run_id"] is not None
    if not dry_run:
        _set_interrupt_message(invocation, name, run, is_named=is_named)
    from millrace.declarations import in_field_words, warning_in_field_words
    from millrace.load import RunRecord, loader_memory, measure, task_unit

    with open_store(invocation) as store, loader_memory():
        source, options = chosen(store.settings)
        if given["resume"]:
            run = store.unfinished(name, source, options, run=given["run_id"])
            _set_interrupt_message(invocation, name, run, is_named=is_named)
        record = RunRecord(name, run, options.mode, started)
        with nullcontext() if dry_run else store.recorded(record), in_field_words(titles, is_airflow=False):
            with record.times.stage("plan"):
                plan = record.plan = store.plan(name, source, options, run=run)
            unit, total = task_unit(plan, None)
            with reported(
                None if dry_run else store.settings.kafka,
                command="load",
                dataset=name,
                run=run,
                total=total or None,
                unit=unit,
                again=is_named or given["resume"],
            ) as progress:
                if dry_run and not plan.unchanged:
                    report = measure(store.settings, plan, task=progress.task)
                else:
                    report = _load(invocation, store, plan, progress.task)
        missing = progress.missing
        if not dry_run and store.cache is not None and not store.cache.responds():
            missing.append("cache")  # a load does not need the cache, but the next read uses it
        worded = (warning_in_field_words(warning, titles, is_airflow=False) for warning in report.warnings)
        warnings = (*map(_without, missing), *worded)
        report = replace(record.timed(report), missing=tuple(missing), warnings=warnings)
        if not dry_run:
            report = store.keep_report(report)
        show_report_warnings(invocation, report)
        if warm and not dry_run and not report.skipped and store.cache is not None and "cache" not in missing:
            store.warm(f"{report.dataset}@{report.version}")
        invocation.answer({**report.to_json(), "dry_run": dry_run}, lambda: _show(report, plan, dry_run=dry_run))


def _set_interrupt_message(invocation: Invocation, name: str, run: str, *, is_named: bool) -> None:
    """Set the message of an interrupt from now on: no version was made, and the command that resumes the load."""
    again = invocation.command_with() if is_named else invocation.command_with("--run-id", run)
    invocation.interrupts.message = f"stopped; no version of {name} was created; resume with: {again}"
    invocation.interrupts.facts = {"error": "LoadInterruptedError", "dataset": name, "run": run, "command": again}


def _load(invocation: Invocation, store: Store, plan: LoadPlan, task: ProgressTask) -> LoadReport:
    if plan.is_done:
        report = store.done(plan)
        store.report_outcome(report, task)
        return report
    result = store.load_split(plan, None, task=task)
    task.phase("publish")
    # The result of writing the version's row must be known, so a signal during it is handled afterwards.
    interrupts = invocation.interrupts
    interrupts.message = (
        f"stopped while {plan.dataset}@{plan.label} was being published; see: millrace versions {plan.dataset}"
    )
    with interrupts.deferred():
        report = store.publish(plan, [result])
        interrupts.message = f"stopped; {plan.dataset}@{report.version} had just been published"
    store.report_outcome(report, task)
    return report


def _without(service: str) -> SourceWarning:
    from millrace.sources import SourceWarning

    reasons = {"progress": "its progress was not reported: Kafka does not respond", "cache": "Redis does not respond"}
    return SourceWarning(f"without_{service}", f"the load ran without {service}: {reasons[service]}")


def show_report_warnings(invocation: Invocation, report: LoadReport) -> None:
    """Print the warnings of a report that are not shown elsewhere."""
    for warning in report.warnings:
        if warning.code == "degraded":
            invocation.note_degraded(warning.message)
        if warning.code not in _SHOWN_ELSEWHERE:
            invocation.warn_once(warning.message)


def _show(report: LoadReport, plan: LoadPlan, *, dry_run: bool) -> None:
    from millrace.load import report_facts

    facts = report_facts(report, dry_run=dry_run, repeated=plan.published)
    print_facts(facts, title=f"{report.dataset}@{report.version}")
