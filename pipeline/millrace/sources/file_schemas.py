"""Schemas of files with types of their own: the columns that are read, and the schema that all files share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pyarrow as pa

from millrace.errors import SourceFormatError, SourceTypeError, UsageError
from millrace.sources.model import SourceFile
from millrace.sources.options import SourceOptions
from millrace.sources.table_columns import read_columns
from millrace.sources.types import merge_schemas


def selected_columns(schema: pa.Schema, file: SourceFile, options: SourceOptions) -> pa.Schema:
    """Return the schema of the columns to be read of a file.

    Raises ``SourceFormatError`` for a file without columns and for a name that two columns have.
    """
    if not schema.names:
        raise SourceFormatError(f"{file.name} has no columns", file=file.name)
    columns = read_columns(options, schema.names, file.name)
    counts = Counter(schema.names)
    if twice := next((name for name in columns if counts[name] > 1), None):
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
