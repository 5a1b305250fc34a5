"""Planning of Parquet and Arrow files: their common schema, and row groups or record batches as units."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pyarrow as pa

from millrace.errors import SourceFormatError, SourceTypeError, UsageError
from millrace.sources.arrow.reader import index_arrow, read_arrow_schema
from millrace.sources.io.streams import can_be_split, open_plain
from millrace.sources.model import SourceFile, SourcePlan
from millrace.sources.options import SourceOptions
from millrace.sources.parquet.int96 import INT96_UNITS, one_unit
from millrace.sources.parquet.reader import parquet_facts, parquet_schema
from millrace.sources.splits import Unit, plan_of_units
from millrace.sources.table_options import read_columns, refuse_csv_options
from millrace.sources.types import merge_schemas, refuse_nulls, refuse_types

__all__ = ["plan_arrow", "plan_parquet"]


def plan_parquet(uri: str, files: tuple[SourceFile, ...], options: SourceOptions) -> SourcePlan:
    """Plan Parquet files; their units are row groups."""
    refuse_types(options, "Parquet data")
    refuse_nulls(options, "Parquet data")
    refuse_csv_options(options, "Parquet data")
    units: list[Unit] = []
    schemas = []
    found = []
    for number, file in enumerate(files):
        facts = parquet_facts(file, options.max_unit_bytes, options.columns)
        schemas.append(_chosen(facts.schema, file, options))
        found.append((file.name, facts.int96))
        groups = facts.groups
        rows = sum(rows for _, rows in groups)
        if not groups or not can_be_split(file):
            units.append(Unit(number, 0, len(groups), file.size_bytes, rows))
            continue
        for at, (stored, group_rows) in enumerate(groups):
            units.append(Unit(number, at, at + 1, stored, group_rows))
    if (unit := one_unit(found)) != INT96_UNITS[0]:
        schemas = [_chosen(parquet_schema(file, unit), file, options) for file in files]
    return plan_of_units("parquet", uri, files, options, _shared(files, schemas), units, "row group")


def plan_arrow(uri: str, files: tuple[SourceFile, ...], options: SourceOptions) -> SourcePlan:
    """Plan Arrow files and streams; their units are record batches."""
    refuse_types(options, "Arrow data")
    refuse_nulls(options, "Arrow data")
    refuse_csv_options(options, "Arrow data")
    units: list[Unit] = []
    schemas = []
    for number, file in enumerate(files):
        schemas.append(_chosen(read_arrow_schema(file, open_plain, options.max_unit_bytes), file, options))
        if not can_be_split(file):
            units.append(Unit(number, 0, -1, file.size_bytes))
            continue
        batches = index_arrow(file, options.max_unit_bytes).batches
        if not batches:
            units.append(Unit(number, 0, 0, file.size_bytes, 0))
        for at, batch in enumerate(batches):
            units.append(Unit(number, at, at + 1, batch.stop - batch.offset, batch.rows))
    return plan_of_units("arrow", uri, files, options, _shared(files, schemas), units, "batch")


def _chosen(schema: pa.Schema, file: SourceFile, options: SourceOptions) -> pa.Schema:
    """Return the schema of the columns to be read of a file.

    Raises ``SourceFormatError`` for a file without columns and for a name that two columns have.
    """
    if not schema.names:
        raise SourceFormatError(f"{file.name} has no columns", file=file.name)
    wanted = read_columns(options, schema.names, file.name)
    counts = Counter(schema.names)
    if twice := next((name for name in wanted if counts[name] > 1), None):
        raise SourceFormatError(f"{file.name}: two columns are named {twice!r}", hint="rename one", file=file.name)
    if options.columns is None:
        return schema
    return pa.schema([schema.field(name) for name in wanted], schema.metadata)


def _shared(files: tuple[SourceFile, ...], schemas: Iterable[pa.Schema]) -> pa.Schema:
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
