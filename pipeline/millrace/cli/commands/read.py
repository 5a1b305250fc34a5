"""``millrace read``: read a dataset into a file, into a pipe or onto the terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from millrace.cli.invocation import Invocation, json_option, open_store, pass_invocation, strict_option
from millrace.cli.options import STANDARD_OUTPUT, columns_option
from millrace.cli.output import one_line, say
from millrace.cli.reporting import reported
from millrace.display import human_bytes, human_seconds
from millrace.errors import UsageError

if TYPE_CHECKING:
    from millrace.dataset import Dataset
    from millrace.settings import Settings


SHOWN_ROWS = 20


@click.command(short_help="Read a version: into a file, a pipe, or onto the terminal.")
@click.argument("name", metavar="NAME[@VERSION]")
@click.option("--split", metavar="S", help="Only the rows of this split, such as train or val.")
@columns_option("Only these columns, in this order.")
@click.option("--filter", "filter_", metavar="EXPR", help="Only rows that pass: the WHERE part of SQL.")
@click.option("--head", type=click.IntRange(min=0), metavar="N", help="Only the first N rows.")
@click.option("--output", metavar="FILE", help="Write a file, in the format of its name; - is standard output.")
@click.option("--force", is_flag=True, help="Replace an existing file or folder without a confirmation.")
@click.option("--format", "format_", metavar="F", help="parquet, csv, arrow, arrows (a stream) or jsonl.")
@click.option("--no-cache", is_flag=True, help="Read from Cassandra only.")
@strict_option
@json_option
@pass_invocation
def command(invocation: Invocation, /, name: str, **given: Any) -> None:
    """Read a version; without --output print a table of its first 20 rows.

    File names end in .parquet, .csv, .arrow, .feather, .arrows or .jsonl. The endings .csv, .jsonl and .arrows may be
    followed by .gz or .zst. An .arrow file equals the dataset exactly. Bytes are restored as the same file, a folder as
    the same tree. Memory is bounded for any size, and a file appears only when it is complete. On a terminal the
    command asks before it replaces a file; elsewhere it replaces files without asking. It replaces a folder only with
    --force.

    CSV and JSON lines hold dates and times of the years 0 to 9999, in UTC if a zone's offset has seconds. CSV cannot
    hold a null in a text column that is the only column. A value that a format cannot hold is refused with the column's
    name. To load both formats again with all values equal, write a schema file with --head 0 --output schema.arrow.
    Then pass this file to load as --schema.

    A version of training data has splits and a recipe. Parquet and Arrow files that are written carry the recipe in
    their schema's metadata.

    The table on the terminal cuts a cell at 200 characters; --output - cuts nothing.

    EXPR supports = != <> < <= > >= and or not in between is null, names and literals: text and dates in 'single
    quotes', unusual names in "double quotes". In --columns, a name must be in double quotes if it has a comma, a
    leading quote, or a blank at its start or end. A quote within such a name is doubled.

    JSON: dataset, version, rows, chunks, stored_bytes, output, output_bytes, seconds, rows_per_s. chunks has the number
    of chunks from redis and from cassandra. Its process is the number from the memory of this process: always 0,
    because chunks are not kept there. Without --output all rows are read and discarded.

    \b
    Example:
      millrace read flights
      millrace read flights --columns carrier,arr_delay --filter "month = 1 and carrier in ('UA', 'B6')"
      millrace read flights --columns '"last, first",id'
      millrace read flights --output flights.parquet
      millrace read flights --output - --format csv | head
      millrace read late_arrivals --split val --output val.parquet
    """
    from millrace.cli.reading import Reading, export_rows, restore_files
    from millrace.dataset import discard_parts
    from millrace.settings import load_settings

    output = _local(given["output"])
    if invocation.json and output == STANDARD_OUTPUT:
        raise UsageError("--json and --output - both write to standard output", hint="give --output a file's name")
    if given["format_"] and output is None:
        raise UsageError("--format needs --output", hint="add --output FILE, or -")
    columns, filter_, head, split = given["columns"], given["filter_"], given["head"], given["split"]
    with open_store(invocation, _settings(load_settings(), cached=not given["no_cache"])) as store:
        dataset = store.dataset(name)
        if dataset.degraded:
            invocation.note_degraded(f"a node is down: there may be a newer version than {dataset.version.reference}")
        if output is None and not invocation.json:
            _show(dataset, columns, filter_, head, split)
            return
        if output is not None:
            _ask_to_replace(output, force=given["force"])
        began = time.monotonic()
        rows_read = dataset.count_rows(split=split)
        total = None if filter_ else min(rows_read, head or rows_read)
        with reported(None, command="read", dataset=dataset.name, total=total) as progress:
            reading = Reading(dataset, columns, filter_, head, progress.task, split)
            if output is None:
                rows, output_bytes = sum(batch.num_rows for batch in reading.batches()), None
            elif dataset.version.kind == "bytes" and given["format_"] is None:
                rows, output_bytes = restore_files(reading, output, force=given["force"])
            else:
                invocation.interrupts.cleanups.append(discard_parts)
                rows, output_bytes = export_rows(reading, output, given["format_"])
        facts = _facts(dataset, rows, output_bytes, output, time.monotonic() - began)
        invocation.answer(facts, lambda: _print_summary(facts))


def _local(output: str | None) -> str | None:
    """Return the path of a ``file://`` address as ``load`` accepts it; raise ``UsageError`` for other schemes."""
    from millrace.sources import local_path

    if output is None or "://" not in output:
        return output
    if not output.lower().startswith("file://"):
        raise UsageError(f"{one_line(output)} is not a file of this machine", hint="give a path or a file:// address")
    return local_path(output)


def _settings(settings: Settings, *, cached: bool) -> Settings:
    if cached:
        return settings
    return settings.model_copy(update={"read": settings.read.model_copy(update={"use_cache": False})})


def _ask_to_replace(output: str, *, force: bool) -> None:
    """Return if the file may be replaced; raise ``click.Abort`` if the user declines."""
    if force or output == STANDARD_OUTPUT or not Path(output).is_file():
        return
    if sys.stdin.isatty() and sys.stderr.isatty():
        click.confirm(f"{one_line(output)} exists already. Replace it?", abort=True, err=True)


def _show(
    dataset: Dataset, columns: Sequence[str] | None, filter_: str | None, head: int | None, split: str | None
) -> None:
    from millrace.cli.preview import print_preview

    head = SHOWN_ROWS if head is None else head
    table = dataset.head(head, columns, filter_, split=split)  # reads only the chunks that it needs
    print_preview(table)
    total = dataset.count_rows(split=split)
    if filter_ is not None:
        summary = f"{table.num_rows:,} rows that pass, of {total:,}"
        if table.num_rows == head:
            summary = f"the first {summary}; there may be more (--head N, --output FILE)"
        say(summary)
    elif table.num_rows < total:
        say(f"the first {table.num_rows:,} of {total:,} rows (--head N, --output FILE)")
    else:
        say(f"{total:,} rows")


def _facts(dataset: Dataset, rows: int, output_bytes: int | None, output: str | None, seconds: float) -> dict[str, Any]:
    stats = dataset.stats.to_json()
    return {
        "dataset": dataset.name,
        "version": dataset.version.label,
        "rows": rows,
        "chunks": {origin: stats[origin] for origin in ("process", "redis", "cassandra")},
        "stored_bytes": stats["stored_bytes"],
        "output": output,
        "output_bytes": output_bytes,
        "seconds": round(seconds, 3),
        "rows_per_s": round(rows / seconds, 1) if seconds else 0.0,
    }


def _print_summary(facts: dict[str, Any]) -> None:
    """Print one line on standard error, because standard output may carry the data."""
    chunks = facts["chunks"]
    origins = ", ".join(f"{count:,} from {origin}" for origin, count in chunks.items() if count) or "none"
    size = f", {human_bytes(facts['output_bytes'])}" if facts["output_bytes"] else ""
    target = "standard output" if facts["output"] == STANDARD_OUTPUT else facts["output"]
    say(
        f"{facts['rows']:,} rows of {facts['dataset']}@{facts['version']} to {target}{size} in "
        f"{human_seconds(facts['seconds'])} (chunks: {origins})"
    )
