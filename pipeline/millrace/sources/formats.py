"""The registry of source formats. To add a format, add a subpackage and an entry here.

Its options and the endings of its files are in ``format_options``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pyarrow as pa

from millrace.sources.arrow.format import ARROW
from millrace.sources.bytes.format import BYTES
from millrace.sources.csv.format import CSV
from millrace.sources.io.inputs import begin_load
from millrace.sources.io.source_checksum import ReadContent
from millrace.sources.json.format import JSON
from millrace.sources.jsonl.format import JSONL
from millrace.sources.model import FilePart, ReadBatch, SourcePlan
from millrace.sources.options import FORMAT_NAMES
from millrace.sources.parquet.format import PARQUET
from millrace.sources.reject_log import RejectLog
from millrace.sources.source_format import Format
from millrace.sources.table_columns import never_null, renamed, with_planned_columns

FORMATS: Final[dict[str, Format]] = {format_.name: format_ for format_ in (PARQUET, ARROW, JSONL, JSON, CSV, BYTES)}
"""All formats by name, in the order in which they are detected."""
FORMAT_NAMES.update(FORMATS)


def read_parts(
    plan: SourcePlan, parts: list[FilePart], content: ReadContent, rejects: RejectLog, *, preview: bool = False
) -> Iterator[ReadBatch]:
    """Yield all batches of the given parts in order, with the columns in the plan's order and their new names.

    ``content`` records the content of the bytes that are read, and ``rejects`` the rows that are set aside. With
    ``preview`` the bytes of standard input are kept for the load that follows.
    """
    if not preview:
        begin_load(plan.files[part.file] for part in parts)
    schema = plan.source_schema
    for batch, file, part_bytes in FORMATS[plan.format].read(plan, parts, content, rejects):
        columns = batch
        if batch.schema.names != schema.names:
            lacks = plan.may_lack_columns
            columns = with_planned_columns(batch, schema) if lacks else batch.select(schema.names)
        if plan.may_lack_columns:
            columns = never_null(columns, schema, plan.files[file].name)
        yield ReadBatch(_with_new_names(plan, columns), file, part_bytes)


def _with_new_names(plan: SourcePlan, batch: pa.RecordBatch) -> pa.RecordBatch:
    if not plan.options.rename:
        return batch
    return pa.RecordBatch.from_arrays(batch.columns, schema=renamed(plan.options, batch.schema))
