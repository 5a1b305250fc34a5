"""The selected and renamed columns of a table, and the schema that all files of a table share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pyarrow as pa

from millrace.arrow import nulls_of, widest_type
from millrace.errors import SourceFormatError, SourceTypeError, UsageError
from millrace.names import first_duplicate, listed_columns
from millrace.sources.agreement import Agreement
from millrace.sources.model import SourceFile
from millrace.sources.options import SourceOptions
from millrace.sources.types import merge_schemas
from millrace.sources.warnings import SourceWarning


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


def selected_columns(
    schema: pa.Schema, file: SourceFile, options: SourceOptions, agreement: Agreement | None
) -> pa.Schema:
    """Return the schema of the columns to be read of a file, which may lack agreed ones.

    Raises ``SourceFormatError`` for a file without columns and for a name that two columns have.
    """
    if not schema.names:
        raise SourceFormatError(f"{file.name} has no columns", file=file.name)
    missing = () if agreement is None else agreement.missing(schema.names)
    columns = [name for name in read_columns(options, [*schema.names, *missing], file.name) if name not in missing]
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


def agreed_schema(
    uri: str,
    files: tuple[SourceFile, ...],
    schemas: Sequence[pa.Schema],
    options: SourceOptions,
    agreement: Agreement | None,
) -> tuple[pa.Schema, tuple[SourceWarning, ...]]:
    """Return the schema of the plan of typed files, and warnings; without an agreement it is ``shared_schema``.

    Files with a contract may have other columns and types than each other. Raises ``SourceTypeError`` for a column or
    a type that the contract refuses.
    """
    if agreement is None:
        return shared_schema(files, schemas), ()
    columns: dict[str, list[pa.Field]] = {}
    for schema in schemas:
        for field in schema:
            columns.setdefault(field.name, []).append(field)
    names = agreement.planned_columns(columns, uri)
    fields = [_agreed_field(name, columns.get(name, []), len(files), agreement, uri) for name in names]
    listed = [(file.name, schema.names) for file, schema in zip(files, schemas, strict=True)]
    metadata = agreement.schema.metadata if agreement.schema.names else schemas[0].metadata
    return pa.schema(fields, metadata), agreement.warnings(listed, options.columns)


def _agreed_field(name: str, fields: Sequence[pa.Field], files: int, agreement: Agreement, uri: str) -> pa.Field:
    """Return the column of the plan for the columns of this name in the files that have it."""
    types = list(dict.fromkeys(field.type for field in fields))
    if name in agreement.schema.names:
        kind = agreement.widened(name, types, uri)
    elif (kind := widest_type(types, exact=True)) is None:
        raise SourceTypeError(
            f"{uri}: column {name!r} is {types[0]} and {types[1]} in its files",
            hint="write these files with the same types, or load it as another dataset",
            column=name,
        )
    is_missing = len(fields) < files
    may_be_null = is_missing or any(field.nullable for field in fields)
    nullable = agreement.nullable(name, may_be_null=may_be_null, owner=uri, is_missing=is_missing)
    return (fields[0] if fields else agreement.schema.field(name)).with_type(kind).with_nullable(nullable)


def with_planned_columns(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Return the columns of ``schema``, in its order; those that the batch lacks are null."""
    has = set(batch.schema.names)
    fields = [batch.schema.field(field.name) if field.name in has else field for field in schema]
    columns = [
        batch.column(field.name) if field.name in has else nulls_of(batch.num_rows, field.type) for field in fields
    ]
    return pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields, batch.schema.metadata))


def never_null(batch: pa.RecordBatch, schema: pa.Schema, owner: str) -> pa.RecordBatch:
    """Return the batch with the nullability of ``schema``; raise ``SourceTypeError`` for a null where none may be."""
    fields = []
    for column, field, planned in zip(batch.columns, batch.schema, schema, strict=True):
        if not planned.nullable and column.null_count:
            raise SourceTypeError(
                f"{owner}: column {planned.name!r} has a null, and is never null in the dataset",
                hint="write a value, or change the contract: with types: evolve the column may be null",
                column=planned.name,
            )
        fields.append(field.with_nullable(planned.nullable))
    return pa.RecordBatch.from_arrays(batch.columns, schema=pa.schema(fields, batch.schema.metadata))
