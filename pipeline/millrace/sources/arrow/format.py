"""Arrow IPC files and streams as a format of sources."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Final

from millrace.sources.agreement import Agreement
from millrace.sources.arrow.reader import index_arrow, read_arrow, read_arrow_schema
from millrace.sources.contract_rows import ContractRows
from millrace.sources.io.source_checksum import ReadContent
from millrace.sources.io.streams import can_be_split, open_decompressed
from millrace.sources.model import FilePart, ReadBatch, SourceFile, SourcePlan
from millrace.sources.options import SourceOptions
from millrace.sources.reject_log import RejectLog
from millrace.sources.row_rules import RowRules
from millrace.sources.source_format import Format
from millrace.sources.splits import Unit, plan_of_units
from millrace.sources.table_columns import agreed_schema, selected_columns


def _plan(
    uri: str, files: tuple[SourceFile, ...], options: SourceOptions, _: RowRules, agreement: Agreement | None
) -> SourcePlan:
    """Plan Arrow files and streams; their units are record batches."""
    units: list[Unit] = []
    schemas = []
    for number, file in enumerate(files):
        schema = read_arrow_schema(file, open_decompressed, options.max_unit_bytes)
        schemas.append(selected_columns(schema, file, options, agreement))
        if not can_be_split(file):
            units.append(Unit(number, 0, -1, file.size_bytes))
            continue
        batches = index_arrow(file, options.max_unit_bytes).batches
        if not batches:
            units.append(Unit(number, 0, 0, file.size_bytes, 0))
        units += [
            Unit(number, index, index + 1, batch.stop - batch.offset, batch.rows) for index, batch in enumerate(batches)
        ]
    schema, warnings = agreed_schema(uri, files, schemas, options, agreement)
    return replace(plan_of_units("arrow", uri, files, options, schema, units, "batch"), warnings=warnings)


def _read(plan: SourcePlan, parts: list[FilePart], content: ReadContent, rejects: RejectLog) -> Iterator[ReadBatch]:
    limit = plan.options.max_unit_bytes
    for number, start, stop in parts:
        file = plan.files[number]
        rows = ContractRows(plan, file.name, rejects, partial(_rows_before, file, start, limit))
        for batch, part_bytes in read_arrow(file, content.open_decompressed, limit, start, stop):
            yield ReadBatch(rows.fitting(batch), number, part_bytes)


def _rows_before(file: SourceFile, batch: int, limit: int) -> int:
    """Return the number of rows of a file before a record batch."""
    return sum(message.rows for message in index_arrow(file, limit).batches[:batch]) if batch else 0


ARROW: Final = Format(
    "arrow",
    "Arrow data",
    _plan,
    _read,
    magic=(b"ARROW1", b"\xff\xff\xff\xff"),
)
