"""Options of ``millrace load`` that choose how a source is read and stored."""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING, Any, Final

import click

from millrace.cli.options import columns_option
from millrace.names import parse_rename

if TYPE_CHECKING:
    from millrace.load import LoadOptions
    from millrace.settings import LoadSettings
    from millrace.sources import BadRowBudget


def _column_type(text: str) -> tuple[str, str]:
    from millrace.sources import parse_column_type

    return parse_column_type(text)


def _budget(text: str) -> BadRowBudget:
    from millrace.sources import BadRowBudget

    try:
        return BadRowBudget.of(text)
    except ValueError as error:
        raise click.BadParameter(f"{error}, not {text!r}.") from None


def _delimiter(text: str) -> str:
    return "\t" if text == "\\t" else text


column_type_option: Final = click.option(
    "--column-type",
    "column_types",
    multiple=True,
    metavar="COL=TYPE",
    type=_column_type,
    help="CSV, JSON lines: an Arrow type, as in 'price=decimal128(10, 2)'. May be given several times.",
)
_OPTIONS: Final = (
    click.option(
        "--mode",
        default="replace",
        metavar="replace|append|incremental",
        help="Replace the rows of the latest version, add to them, or add the files that are not loaded yet.",
    ),
    click.option(
        "--on-change",
        default="refuse",
        metavar="refuse|append|ignore",
        help="--mode incremental: the reaction to a loaded file that changed. append loads it again, besides its rows.",
    ),
    click.option(
        "--format", "format_", metavar="F", help="csv, parquet, jsonl, json, arrow or bytes; else by name and content."
    ),
    click.option(
        "--connection",
        metavar="C",
        help="The connection with the credentials for s3://, gs:// or https://; docs/sources.md.",
    ),
    click.option("--codec", metavar="NAME", help="gzip (default), zstd or none."),
    click.option("--chunk-bytes", type=int, metavar="N", help="Largest stored size of a chunk, 65,536 to 5,000,000."),
    click.option(
        "--null-value",
        "null_values",
        multiple=True,
        metavar="TEXT",
        help="CSV: a spelling of null, for every column; replaces the default spellings. May be given several times.",
    ),
    column_type_option,
    click.option("--schema", "schema_file", metavar="FILE", help="Types from an Arrow, Parquet or JSON file."),
    click.option(
        "--delimiter",
        metavar="C",
        type=_delimiter,
        help="CSV: one character; \\t is a tab; auto finds a comma, semicolon, tab or | by the first lines. Default: a "
        "comma, and a tab for .tsv.",
    ),
    click.option("--encoding", metavar="E", help="CSV, JSON: the text's encoding (utf-8)."),
    click.option("--no-header", is_flag=True, help="CSV: the first line is data; columns are named f0, f1, ..."),
    click.option("--skip-rows", type=int, default=0, metavar="N", help="CSV: lines of each file before its header."),
    click.option("--decimal", default=".", metavar="C", help="CSV: the decimal point of numbers, as in --decimal ,"),
    click.option(
        "--date-format",
        multiple=True,
        metavar="F",
        help="CSV: how dates, times or both are written, as in %d.%m.%Y or '%d/%m/%Y %H:%M'. May be given several "
        "times.",
    ),
    click.option(
        "--true-value",
        multiple=True,
        metavar="TEXT",
        help="CSV: a spelling of true, in place of 1, True, TRUE, true. May be given several times.",
    ),
    click.option(
        "--false-value",
        multiple=True,
        metavar="TEXT",
        help="CSV: a spelling of false, in place of 0, False, FALSE, false. May be given several times.",
    ),
    click.option(
        "--records",
        metavar="KEYS",
        help="With --format json: the keys of the array in the document, as in data.items; \\. is a dot in a key.",
    ),
    columns_option("Only these columns of a table, in this order; not for bytes."),
    click.option(
        "--rename",
        multiple=True,
        metavar="OLD=NEW",
        type=parse_rename,
        help="Another name for a column of a table; not for bytes. May be given several times.",
    ),
    click.option(
        "--max-bad-rows",
        default="0",
        metavar="N|N%",
        type=_budget,
        help="CSV, JSON lines: set aside at most so many rows that do not fit, in the dataset NAME__rejects.",
    ),
    click.option("--infer-bytes", type=int, metavar="N", help="Bytes that are read to infer types (64,000,000)."),
    click.option(
        "--max-unit-bytes",
        type=int,
        metavar="N",
        help="Largest record, line, JSON document, row group or batch in bytes (64,000,000).",
    ),
)


def load_options(command: Any) -> Any:
    """Add the options from which ``chosen_options`` makes the options of a load."""
    return reduce(lambda decorated, option: option(decorated), reversed(_OPTIONS), command)


def chosen_options(settings: LoadSettings, given: dict[str, Any]) -> LoadOptions:
    """Return the options of a load from the command's parameters, and from ``settings`` where none is given."""
    from millrace.load import LoadOptions
    from millrace.sources import SourceOptions

    def chosen(name: str) -> int:
        value: int | None = given[name]
        return getattr(settings, name) if value is None else value

    return LoadOptions(
        mode=given["mode"],
        on_change=given["on_change"],
        codec=given["codec"],
        chunk_bytes=given["chunk_bytes"],
        bad_rows=given["max_bad_rows"],
        source=SourceOptions(
            format=given["format_"],
            connection=given["connection"],
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
            records=given["records"],
            columns=given["columns"],
            rename=given["rename"],
            infer_bytes=chosen("infer_bytes"),
            max_unit_bytes=chosen("max_unit_bytes"),
            # One process reads the source as one stream, so the positions of splits are not needed.
            max_splits=1,
        ),
    )
