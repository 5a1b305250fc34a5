"""Parquet as a format of sources."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

import pyarrow as pa

from millrace.sources.agreement import Agreement
from millrace.sources.contract_rows import ContractRows
from millrace.sources.io.source_checksum import ReadContent
from millrace.sources.io.streams import can_be_split
from millrace.sources.model import FilePart, ReadBatch, SourceFile, SourcePlan
from millrace.sources.options import SourceOptions
from millrace.sources.parquet.int96 import INT96_UNITS, one_unit
from millrace.sources.parquet.reader import parquet_facts, parquet_schema, read_parquet, rows_before
from millrace.sources.reject_log import RejectLog
from millrace.sources.row_rules import RowRules
from millrace.sources.source_format import Format
from millrace.sources.splits import Unit, plan_of_units
from millrace.sources.table_columns import agreed_schema, selected_columns


def _plan(
    uri: str, files: tuple[SourceFile, ...], options: SourceOptions, _: RowRules, agreement: Agreement | None
) -> SourcePlan:
    """Plan Parquet files; their units are row groups."""
    units: list[Unit] = []
    schemas = []
    int96_units = []
    for number, file in enumerate(files):
        facts = parquet_facts(file, options.max_unit_bytes, options.columns)
        schemas.append(selected_columns(facts.schema, file, options, agreement))
        int96_units.append((file.name, facts.int96))
        if not facts.groups or not can_be_split(file):
            rows = sum(group_rows for _, group_rows in facts.groups)
            units.append(Unit(number, 0, len(facts.groups), file.size_bytes, rows))
            continue
        units += [Unit(number, group, group + 1, stored, rows) for group, (stored, rows) in enumerate(facts.groups)]
    if (unit := one_unit(int96_units)) != INT96_UNITS[0]:
        schemas = [selected_columns(parquet_schema(file, unit), file, options, agreement) for file in files]
    _check_int96(uri, schemas, int96_units, agreement)
    schema, warnings = agreed_schema(uri, files, schemas, options, agreement)
    return replace(plan_of_units("parquet", uri, files, options, schema, units, "row group"), warnings=warnings)


def _check_int96(
    uri: str,
    schemas: Sequence[pa.Schema],
    columns: Sequence[tuple[str, dict[str, set[str]]]],
    agreement: Agreement | None,
) -> None:
    """Raise ``SourceTypeError`` for INT96 whose unit is not the agreed one, in which it would be read."""
    if agreement is None:
        return
    for schema, (_, names) in zip(schemas, columns, strict=True):
        for name in set(names).intersection(agreement.schema.names):
            if schema.field(name).type != agreement.schema.field(name).type:
                raise agreement.type_error(name, schema.field(name).type, uri)


def _read(plan: SourcePlan, parts: list[FilePart], content: ReadContent, rejects: RejectLog) -> Iterator[ReadBatch]:
    for number, start, stop in parts:
        file = plan.files[number]
        rows = ContractRows(plan, file.name, rejects, partial(rows_before, file, start))
        for batch, part_bytes in read_parquet(file, plan.source_schema, start, stop):
            yield ReadBatch(rows.fitting(batch), number, part_bytes)


PARQUET: Final = Format(
    "parquet",
    "Parquet data",
    _plan,
    _read,
    # "PARE" begins a file with an encrypted footer. Planning refuses it with that reason.
    magic=(b"PAR1", b"PARE"),
)
