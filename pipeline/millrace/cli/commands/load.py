"""``millrace load``: load a source as a new version of a dataset."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from millrace.cli.invocation import Invocation, json_option, pass_invocation, strict_option
from millrace.cli.output import print_facts
from millrace.cli.reporting import reported
from millrace.cli.store import open_store
from millrace.names import check_dataset_name, new_run_id, parse_columns, parse_rename

if TYPE_CHECKING:
    from millrace.api import Store
    from millrace.load import LoadOptions, LoadPlan, LoadReport
    from millrace.progress import ProgressTask
    from millrace.settings import LoadSettings
    from millrace.sources import SourceWarning


_TOLD = frozenset({"already_loaded", "without_progress", "without_cache"})
"""Warnings that the command's table or the service's own client has shown already."""


def _column_types(
    _context: click.Context, _parameter: click.Parameter, given: tuple[str, ...]
) -> tuple[tuple[str, str], ...]:
    if not given:
        return ()
    from millrace.sources import parse_column_type

    return tuple(parse_column_type(each) for each in given)


def _delimiter(_context: click.Context, _parameter: click.Parameter, given: str | None) -> str | None:
    return "\t" if given == "\\t" else given


def _columns(_context: click.Context, _parameter: click.Parameter, given: str | None) -> tuple[str, ...] | None:
    return None if given is None else tuple(parse_columns(given))


def _rename(
    _context: click.Context, _parameter: click.Parameter, given: tuple[str, ...]
) -> tuple[tuple[str, str], ...]:
    return tuple(map(parse_rename, given))


def _run_id(_context: click.Context, _parameter: click.Parameter, given: str | None) -> str | None:
    # The id is part of the bridge's URLs, of rows and of the command that resumes the load.
    if given is not None and not (0 < len(given) <= 200 and given.isprintable()):
        raise click.BadParameter("give 1 to 200 printable characters")
    return given


@click.command(short_help="Load a source as a new version of a dataset.")
@click.argument("name")
@click.argument("source")
@click.option(
    "--mode",
    default="replace",
    metavar="replace|append",
    help="Replace the rows of the latest version, or add to them.",
)
@click.option("--format", "format_", metavar="F", help="csv, parquet, jsonl, arrow or bytes; else by name and content.")
@click.option("--codec", metavar="NAME", help="gzip (default), zstd or none.")
@click.option("--chunk-bytes", type=int, metavar="N", help="Largest stored size of a chunk, 65,536 to 5,000,000.")
@click.option(
    "--null-value",
    "null_values",
    multiple=True,
    metavar="TEXT",
    help="CSV: a spelling of null, for every column; replaces the default spellings. May be given several times.",
)
@click.option(
    "--column-type",
    "column_types",
    multiple=True,
    metavar="COL=TYPE",
    callback=_column_types,
    help="CSV, JSON lines: an Arrow type, as in 'price=decimal128(10, 2)'. May be given several times.",
)
@click.option("--schema", "schema_file", metavar="FILE", help="Types from an Arrow, Parquet or JSON file.")
@click.option(
    "--delimiter",
    metavar="C",
    callback=_delimiter,
    help="CSV: one character; \\t is a tab; auto finds a comma, semicolon, tab or | by the first lines. Default: a "
    "comma, and a tab for .tsv.",
)
@click.option("--encoding", metavar="E", help="CSV, JSON lines: the text's encoding (utf-8).")
@click.option("--no-header", is_flag=True, help="CSV: the first line is data; columns are named f0, f1, ...")
@click.option("--skip-rows", type=int, default=0, metavar="N", help="CSV: lines of each file before its header.")
@click.option("--decimal", default=".", metavar="C", help="CSV: the decimal point of numbers, as in --decimal ,")
@click.option(
    "--date-format",
    "date_format",
    multiple=True,
    metavar="F",
    help="CSV: how dates, times or both are written, as in %d.%m.%Y or '%d/%m/%Y %H:%M'. May be given several times.",
)
@click.option(
    "--true-value",
    "true_value",
    multiple=True,
    metavar="TEXT",
    help="CSV: a spelling of true, in place of 1, True, TRUE, true. May be given several times.",
)
@click.option(
    "--false-value",
    "false_value",
    multiple=True,
    metavar="TEXT",
    help="CSV: a spelling of false, in place of 0, False, FALSE, false. May be given several times.",
)
@click.option(
    "--columns", metavar="A,B", callback=_columns, help="Only these columns of a table, in this order; not for bytes."
)
@click.option(
    "--rename",
    multiple=True,
    metavar="OLD=NEW",
    callback=_rename,
    help="Another name for a column of a table; not for bytes. May be given several times.",
)
@click.option("--infer-bytes", type=int, metavar="N", help="Bytes that are read to infer types (64,000,000).")
@click.option(
    "--max-unit-bytes", type=int, metavar="N", help="Largest record, line, row group or batch in bytes (64,000,000)."
)
@click.option(
    "--run-id",
    metavar="ID",
    callback=_run_id,
    help="Name the run. The same run, source and settings are the same load.",
)
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

    SOURCE is a file, a directory, a pattern in quotes, or - for standard input: CSV, Parquet, JSON lines, Arrow or any
    bytes, plain or compressed. Bytes keep every file and folder. A table leaves out hidden files. A file is hidden if a
    part of its path below the source begins with . or _ and the pattern does not spell that part out. A warning gives
    their number and one name. The values in the names of folders like KEY=VALUE do not become columns; a warning names
    the keys.

    JSON: the load report. columns is a list of name and type, columns_total their number; warnings is a list of
    everything surprising: code, message, column, line, file.

    --column-type, --columns and --rename use the column names of the source. In the last two, a name with commas, = or
    outer blanks must be in double quotes. The version has the new names.

    Without --null-value an empty field and these are null in every column of a CSV that is not text:

    \b
      #N/A  #N/A N/A  #NA  -1.#IND  -1.#QNAN  -NaN  -nan  1.#IND  1.#QNAN
      N/A  NA  NULL  NaN  n/a  nan  null

    A column becomes a date, a time or a timestamp if every value fits one --date-format: %Y or %y (69 to 99 are 1969 to
    1999), %m, %b or %B (English names), %d, %H or %I with %p, %M, %S, %f (a fraction), %z (then UTC). Other columns are
    read as ISO 8601. A date that does not exist is refused.

    The version is visible as a whole after exit code 0, or 3 with --strict, and otherwise not at all. Ctrl-C stops a
    load within two seconds and prints the command that resumes it.

    \b
    Example:
      millrace load flights flights.csv --null-value NA
      millrace load prices preise.csv --delimiter ';' --decimal , --columns id,preis --rename preis=price
      millrace load events 'events/*.jsonl.gz' --column-type id=int64 --mode append
    """
    check_dataset_name(name)
    dry_run = given["dry_run"]
    began = time.monotonic()
    run, named = given["run_id"] or new_run_id(name), given["run_id"] is not None
    if not dry_run:
        _set_interrupt_message(invocation, name, run, named=named)
    from millrace.load import loader_memory, measure

    with open_store(invocation) as store, loader_memory():
        if given["resume"]:
            run = store.unfinished(name, source, _options(store.settings.load, given), run=given["run_id"])
            _set_interrupt_message(invocation, name, run, named=named)
        plan = store.plan(name, source, _options(store.settings.load, given), run=run)
        kafka = None if dry_run else store.settings.kafka
        with reported(kafka, again=named or given["resume"], **_task_of(plan)) as progress:
            if dry_run:
                report = measure(store.settings, plan, task=progress.task)
            else:
                report = _load(invocation, store, plan, progress.task)
        missing = progress.missing
        if not dry_run and store.cache is not None and not store.cache.responds():
            missing.append("cache")  # a load does not need the cache, but the next read uses it
        seconds = time.monotonic() - began
        report = replace(
            report,
            seconds=round(seconds, 3),
            rows_per_s=round(report.rows / seconds, 1),
            missing=tuple(missing),
            warnings=(*(_without(each) for each in missing), *report.warnings),
        )
        for warning in report.warnings:
            if warning.code == "degraded":
                invocation.note_degraded(warning.message)
            if warning.code not in _TOLD:
                invocation.warn_once(warning.message)
        invocation.answer({**report.to_json(), "dry_run": dry_run}, lambda: _show(report, plan, dry_run=dry_run))


def _options(settings: LoadSettings, given: dict[str, Any]) -> LoadOptions:
    from millrace.load import LoadOptions
    from millrace.sources import SourceOptions

    def chosen(name: str) -> int:
        value: int | None = given[name]
        return getattr(settings, name) if value is None else value

    return LoadOptions(
        mode=given["mode"],
        codec=given["codec"],
        chunk_bytes=given["chunk_bytes"],
        source=SourceOptions(
            format=given["format_"],
            null_values=given["null_values"] or None,
            column_types=given["column_types"],
            schema_file=given["schema_file"],
            delimiter=given["delimiter"],
            encoding=given["encoding"],
            header=not given["no_header"],
            decimal=given["decimal"],
            date_format=given["date_format"],
            true_value=given["true_value"],
            false_value=given["false_value"],
            skip_rows=given["skip_rows"],
            columns=given["columns"],
            rename=given["rename"],
            infer_bytes=chosen("infer_bytes"),
            max_unit_bytes=chosen("max_unit_bytes"),
            # One process reads the source as one stream, so the positions of splits are not needed.
            max_splits=1,
        ),
    )


def _task_of(plan: LoadPlan) -> dict[str, Any]:
    from millrace.load import task_unit

    unit, total = task_unit(plan, None)
    return {
        "command": "load",
        "kind": "load",
        "dataset": plan.dataset,
        "run": plan.run,
        "total": total or None,
        "unit": unit,
    }


def _set_interrupt_message(invocation: Invocation, name: str, run: str, *, named: bool) -> None:
    """Set the message of an interrupt from now on: no version was made, and the command that resumes the load."""
    again = invocation.command_with() if named else invocation.command_with("--run-id", run)
    invocation.interrupts.message = f"stopped; no version of {name} was created; resume with: {again}"
    invocation.interrupts.facts = {"error": "LoadInterruptedError", "dataset": name, "run": run, "command": again}


def _load(invocation: Invocation, store: Store, plan: LoadPlan, task: ProgressTask) -> LoadReport:
    if plan.published:
        report = store.published(plan)
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


def _show(report: LoadReport, plan: LoadPlan, *, dry_run: bool) -> None:
    from millrace.load import report_facts

    facts = report_facts(report, dry_run=dry_run, repeated=plan.published)
    print_facts(facts, title=f"{report.dataset}@{report.version}")
