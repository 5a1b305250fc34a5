"""The selected and renamed columns of a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from millrace.errors import UsageError
from millrace.names import listed_columns
from millrace.sources.options import SourceOptions

if TYPE_CHECKING:
    import pyarrow as pa


def read_columns(options: SourceOptions, names: Iterable[str], owner: str) -> tuple[str, ...]:
    """Return the columns to be read, in the order of ``--columns``; ``names`` are those of ``owner``, a file or source.

    Raises ``UsageError`` for a selected or renamed column that does not exist, and for a renamed one not selected.
    """
    every = tuple(names)
    has = set(every)
    for option, columns in (("--columns", options.columns or ()), ("--rename", [old for old, _ in options.rename])):
        if missing := next((name for name in columns if name not in has), None):
            raise UsageError(
                f"{owner} has no column {missing!r}, which {option} names",
                hint=f"its columns are {listed_columns(every)}",
                column=missing,
            )
    selected = every if options.columns is None else options.columns
    if unread := next((old for old, _ in options.rename if old not in selected), None):
        raise UsageError(f"--rename names {unread!r}, which --columns leaves out", hint="name it in both, or in none")
    return selected


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
