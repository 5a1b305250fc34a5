"""The formats that options of tables apply to, and the selected and renamed columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from millrace.errors import UsageError
from millrace.names import listed_columns
from millrace.sources.options import AUTO, SourceOptions

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "csv_only",
    "read_columns",
    "refuse_csv_options",
    "refuse_projection",
    "renamed",
]

_CSV_ONLY: Final = ("decimal", "date_format", "true_value", "false_value", "skip_rows")


def csv_only(options: SourceOptions) -> list[str]:
    """Return the names of the given options that only a CSV has."""
    default = SourceOptions()
    given = [name for name in _CSV_ONLY if getattr(options, name) != getattr(default, name)]
    return given + (["delimiter"] if options.delimiter == AUTO else [])


def refuse_csv_options(options: SourceOptions, what: str) -> None:
    """Raise ``UsageError`` when an option that only a CSV has is given for other data."""
    if given := csv_only(options):
        option = "--" + given[0].replace("_", "-")
        raise UsageError(f"{option} says how a CSV is written, and this is {what}", hint=f"leave out {option}")


def refuse_projection(options: SourceOptions, what: str) -> None:
    """Raise ``UsageError`` when columns are selected or renamed in data without columns of its own."""
    for name, given in (("--columns", options.columns is not None), ("--rename", bool(options.rename))):
        if given:
            raise UsageError(f"{what} have no columns to choose or rename", hint=f"leave out {name}")


def read_columns(options: SourceOptions, names: Iterable[str], where: str) -> tuple[str, ...]:
    """Return the columns to be read, in the order of ``--columns``; ``names`` are those that ``where`` has.

    Raises ``UsageError`` for a selected or renamed column that does not exist, and for a renamed one not selected.
    """
    every = tuple(names)
    has = set(every)
    for option, asked in (("--columns", options.columns or ()), ("--rename", [old for old, _ in options.rename])):
        if missing := next((name for name in asked if name not in has), None):
            raise UsageError(
                f"{where} has no column {missing!r}, which {option} names",
                hint=f"its columns are {listed_columns(every)}",
                column=missing,
            )
    chosen = every if options.columns is None else options.columns
    if unread := next((old for old, _ in options.rename if old not in chosen), None):
        raise UsageError(f"--rename names {unread!r}, which --columns leaves out", hint="name it in both, or in none")
    return chosen


def renamed(options: SourceOptions, schema: pa.Schema) -> pa.Schema:
    """Return the schema with the new names; raises ``UsageError`` when two columns would have the same name."""
    if not options.rename:
        return schema
    import pyarrow as pa

    new = dict(options.rename)
    fields = [field.with_name(new.get(field.name, field.name)) for field in schema]
    for name, count in Counter(field.name for field in fields).items():
        if count > 1:
            raise UsageError(
                f"--rename gives two columns the name {name!r}", hint="rename the other one too, or leave it out"
            )
    # pandas metadata describes the columns by their old names.
    metadata = {key: value for key, value in (schema.metadata or {}).items() if key != b"pandas"}
    return pa.schema(fields, metadata=metadata or None)
