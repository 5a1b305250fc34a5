"""The selected and renamed columns of a table, and the schema that all files of a table share."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

from millrace.errors import SourceFormatError, SourceTypeError, UsageError
from millrace.names import first_duplicate, listed_columns
from millrace.sources.model import SourceFile
from millrace.sources.options import SourceOptions
from millrace.sources.types import merge_schemas


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
    new = dict(options.rename)
    fields = [field.with_name(new.get(field.name, field.name)) for field in schema]
    if (name := first_duplicate(field.name for field in fields)) is not None:
        raise UsageError(
            f"--rename gives two columns the name {name!r}", hint="rename the other one too, or leave it out"
        )
    # pandas metadata describes the columns by their old names.
    metadata = {key: value for key, value in (schema.metadata or {}).items() if key != b"pandas"}
    return pa.schema(fields, metadata=metadata or None)


def selected_columns(schema: pa.Schema, file: SourceFile, options: SourceOptions) -> pa.Schema:
    """Return the schema of the columns to be read of a file.

    Raises ``SourceFormatError`` for a file without columns and for a name that two columns have.
    """
    if not schema.names:
        raise SourceFormatError(f"{file.name} has no columns", file=file.name)
    columns = read_columns(options, schema.names, file.name)
    selected = set(columns)
    if twice := first_duplicate(name for name in schema.names if name in selected):
        raise SourceFormatError(f"{file.name}: two columns are named {twice!r}", hint="rename one", file=file.name)
    if options.columns is None:
        return schema
    return pa.schema([schema.field(name) for name in columns], schema.metadata)


def shared_schema(files: tuple[SourceFile, ...], schemas: Iterable[pa.Schema]) -> pa.Schema:
    """Return the schema to which those of all files widen without any loss.

    Raises ``SourceFormatError`` for other columns and ``SourceTypeError`` for types without a common one.
    """
    shared: pa.Schema | None = None
    for file, schema in zip(files, schemas, strict=True):
        names = schema.names
        if shared is None:
            shared = schema
            continue
        if set(names) != set(shared.names):
            different = sorted(set(names) ^ set(shared.names))
            raise SourceFormatError(
                f"{file.name} does not have the columns of {files[0].name}: "
                f"{', '.join(map(repr, different[:5]))} only in one of them",
                hint="load it as another dataset",
                file=file.name,
            )
        try:
            shared = merge_schemas([shared, schema], exact=True)
        except SourceTypeError as error:
            column = error.context["column"]
            raise SourceTypeError(
                f"{file.name}: column {column!r} is {schema.field(column).type}, "
                f"and {shared.field(column).type} in the files before it",
                hint="write these files with the same types, or load it as another dataset",
                file=file.name,
                column=column,
            ) from None
    if shared is None:
        raise UsageError("no files to plan")
    return shared
