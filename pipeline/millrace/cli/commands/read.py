"""``millrace read``: read a dataset into a file, a pipe or onto the terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from millrace.cli.invocation import Invocation, json_option, pass_invocation, strict_option
from millrace.cli.output import one_line, say
from millrace.cli.reporting import reported
from millrace.cli.store import open_store
from millrace.display import human_bytes, human_seconds
from millrace.errors import UsageError

if TYPE_CHECKING:
    import pyarrow as pa

    from millrace.dataset import Dataset
    from millrace.progress import ProgressTask
    from millrace.settings import Settings


SHOWN_ROWS = 20
STANDARD_OUTPUT = "-"


@dataclass(slots=True)
class _Request:
    """The part of a dataset to read: columns (None: all), the filter's text, at most ``head`` rows."""

    columns: list[str] | None
    filter: str | None
    head: int | None


def _columns(_context: click.Context, _parameter: click.Parameter, given: str | None) -> list[str] | None:
    from millrace.names import parse_columns

    try:
        return None if given is None else parse_columns(given)
    except UsageError as error:
        raise click.BadParameter(str(error)) from None


@click.command(short_help="Read a version: into a file, a pipe, or onto the terminal.")
@click.argument("name", metavar="NAME[@VERSION]")
@click.option("--columns", metavar="A,B", callback=_columns, help="Only these columns, in this order.")
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

    File names end in .parquet, .csv, .arrow, .feather, .arrows or .jsonl; .csv, .jsonl and .arrows may be followed by
    .gz or .zst. An .arrow file equals the dataset exactly. Bytes are restored as the same file, a folder as the same
    tree. Memory is bounded for any size, and a file appears only when it is complete. On a terminal the command asks
    before it replaces a file; elsewhere it replaces files without asking. It replaces a folder only with --force.

    CSV and JSON lines hold dates and times of the years 0 to 9999, in UTC if a zone's offset has seconds. CSV cannot
    hold a null in a text column that is the only column. A value that a format cannot hold is refused with the column's
    name. Both formats load again with all values equal if --schema names the file that --head 0 --output schema.arrow
    writes.

    The table on the terminal cuts a cell at 200 characters; --output - cuts nothing.

    EXPR supports = != <> < <= > >= and or not in between is null, names and literals: text and dates in 'single
    quotes', unusual names in "double quotes". In --columns, names with commas, outer blanks or a leading quote must be
    in double quotes; a quote within them is doubled.

    JSON: dataset, version, rows, chunks (the number from process, redis, cassandra), stored_bytes, output,
    output_bytes, seconds, rows_per_s; without --output all rows are read and discarded.

    \b
    Example:
      millrace read flights
      millrace read flights --columns carrier,arr_delay --filter "month = 1 and carrier in ('UA', 'B6')"
      millrace read flights --columns '"last, first",id'
      millrace read flights --output flights.parquet
      millrace read flights --output - --format csv | head
    """
    from millrace.settings import load_settings

    output = _local(given["output"])
    if invocation.json and output == STANDARD_OUTPUT:
        raise UsageError("--json and --output - both write to standard output", hint="give --output a file's name")
    if given["format_"] and output is None:
        raise UsageError("--format needs --output", hint="add --output FILE, or -")
    request = _Request(given["columns"], given["filter_"], given["head"])
    with open_store(invocation, _settings(load_settings(), cached=not given["no_cache"])) as store:
        dataset = store.dataset(name)
        if dataset.degraded:
            invocation.note_degraded(f"a node is down: there may be a newer version than {dataset.version.reference}")
        if output is None and not invocation.json:
            _show(dataset, request)
            return
        if output is not None:
            _ask_to_replace(output, force=given["force"])
        began = time.monotonic()
        total = None if request.filter else min(dataset.count_rows(), request.head or dataset.count_rows())
        with reported(None, command="read", kind="read", dataset=dataset.name, run="-", total=total) as progress:
            reading = _Reading(dataset, request, progress.task, invocation.interrupts.cleanups)
            if output is None:
                rows, written = sum(batch.num_rows for batch in reading.batches()), None
            elif dataset.version.kind == "bytes" and given["format_"] is None:
                rows, written = _restore(reading, output, force=given["force"])
            else:
                rows, written = _export(reading, output, given["format_"])
        facts = _facts(dataset, rows, written, output, time.monotonic() - began)
        invocation.answer(facts, lambda: _tell(facts))


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


@dataclass(slots=True)
class _Reading:
    """One pass over the requested part of a dataset, which counts its rows."""

    dataset: Dataset
    request: _Request
    task: ProgressTask
    cleanups: list[Callable[[], None]]

    @property
    def schema(self) -> pa.Schema:
        """Schema of every batch; raises ``UsageError`` for a column that does not exist."""
        import pyarrow as pa

        from millrace.names import listed_columns

        schema = self.dataset.schema
        if self.request.columns is None:
            return schema
        for column in self.request.columns:
            if schema.names.count(column) != 1:
                problem = "no column" if column not in schema.names else "more than one column"
                raise UsageError(
                    f"{self.dataset.version.reference} has {problem} {column!r}",
                    hint=f"its columns are {listed_columns(schema.names)}",
                    dataset=self.dataset.name,
                )
        return pa.schema([schema.field(column) for column in self.request.columns], schema.metadata)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Return the batches; a wrong filter is refused at once, and reading starts with the first batch."""
        from millrace.dataset import parse_filter

        text = self.request.filter
        condition = None if text is None else parse_filter(text, self.dataset.schema)
        return self._counted(self.dataset.to_batches(self.request.columns, condition, num_rows=self.request.head))

    def _counted(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield batch
            self.task.advance(batch.num_rows)


def _ask_to_replace(output: str, *, force: bool) -> None:
    """Return if the file may be replaced; raise ``click.Abort`` if the user declines."""
    if force or output == STANDARD_OUTPUT or not Path(output).is_file():
        return
    if sys.stdin.isatty() and sys.stderr.isatty():
        click.confirm(f"{one_line(output)} exists already. Replace it?", abort=True, err=True)


def _export(reading: _Reading, output: str, format_: str | None) -> tuple[int, int]:
    from millrace.dataset import discard_parts, export, format_of

    reading.cleanups.append(discard_parts)
    chosen, compression = format_of(output, format_)
    done = export(reading.batches(), reading.schema, output, chosen, compression)
    return done.rows, done.file_bytes


def _restore(reading: _Reading, output: str, *, force: bool) -> tuple[int, int]:
    """Write the bytes of a version back as files."""
    from millrace.sources import restore_bytes

    version = reading.dataset.version
    if reading.request != _Request(None, None, None):
        raise UsageError(
            f"{version.reference} is a dataset of files, which are written unchanged",
            hint="--columns, --filter and --head need --format, which writes their rows",
        )
    # An append to existing data makes at least two files, and a merge does not record its source.
    alone = version.mode == "replace" or version.parent is None
    single = alone and bool(version.source.get("single_file"))
    if output != STANDARD_OUTPUT:
        _, written = restore_bytes(reading.batches(), Path(output), single=single, replace=force)
        return version.rows, written
    if not single:
        raise UsageError(
            f"{version.reference} contains a folder or several files", hint="give --output the name of a new folder"
        )
    written = 0
    for batch in reading.batches():
        for piece in batch.column("data"):
            written += sys.stdout.buffer.write(piece.as_buffer())
    sys.stdout.buffer.flush()
    return version.rows, written


def _show(dataset: Dataset, request: _Request) -> None:
    import pyarrow as pa

    from millrace.cli.preview import print_preview
    from millrace.progress import null_task

    request.head = SHOWN_ROWS if request.head is None else request.head
    reading = _Reading(dataset, request, null_task(), [])
    if request.filter is None:
        table = dataset.head(request.head, request.columns)  # reads only the chunks that it needs
    else:
        table = pa.Table.from_batches(reading.batches(), schema=reading.schema)
    print_preview(table)
    total = dataset.count_rows()
    if request.filter is not None:
        summary = f"{table.num_rows:,} rows that pass, of {total:,}"
        if table.num_rows == request.head:
            summary = f"the first {summary}; there may be more (--head N, --output FILE)"
        say(summary)
    elif table.num_rows < total:
        say(f"the first {table.num_rows:,} of {total:,} rows (--head N, --output FILE)")
    else:
        say(f"{total:,} rows")


def _facts(dataset: Dataset, rows: int, written: int | None, output: str | None, seconds: float) -> dict[str, Any]:
    stats = dataset.stats.to_json()
    return {
        "dataset": dataset.name,
        "version": dataset.version.label,
        "rows": rows,
        "chunks": {origin: stats[origin] for origin in ("process", "redis", "cassandra")},
        "stored_bytes": stats["stored_bytes"],
        "output": output,
        "output_bytes": written,
        "seconds": round(seconds, 3),
        "rows_per_s": round(rows / seconds, 1) if seconds else 0.0,
    }


def _tell(facts: dict[str, Any]) -> None:
    """Print one line on standard error, because standard output may carry the data."""
    chunks = facts["chunks"]
    came = ", ".join(f"{count:,} from {place}" for place, count in chunks.items() if count) or "none"
    size = f", {human_bytes(facts['output_bytes'])}" if facts["output_bytes"] else ""
    where = "standard output" if facts["output"] == STANDARD_OUTPUT else facts["output"]
    say(
        f"{facts['rows']:,} rows of {facts['dataset']}@{facts['version']} to {where}{size} in "
        f"{human_seconds(facts['seconds'])} (chunks: {came})"
    )
