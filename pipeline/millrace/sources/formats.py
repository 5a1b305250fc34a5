"""Dispatch of a plan's parts to the reader of its format; this is the only module that imports all the readers."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from millrace.sources.arrow.reader import read_arrow
from millrace.sources.bytes.reader import read_pieces
from millrace.sources.csv.reader import read_csv
from millrace.sources.io.source_checksum import ReadContent
from millrace.sources.io.stdin import STANDARD_INPUT, standard_input
from millrace.sources.jsonl.reader import read_jsonl
from millrace.sources.model import FilePart, ReadBatch, SourcePlan
from millrace.sources.parquet.reader import read_parquet
from millrace.sources.table_options import renamed

__all__ = ["batches_of"]


def batches_of(
    plan: SourcePlan, parts: list[FilePart], content: ReadContent, *, preview: bool = False
) -> Iterator[ReadBatch]:
    """Yield all batches of the given parts (file, start, stop), in order, with the columns in the plan's order.

    ``content`` records the content of the bytes that are read. With ``preview`` standard input is kept for the load
    that follows.
    """
    if plan.uri == STANDARD_INPUT and not preview:
        standard_input().load()
    read = _of_columns if plan.format in ("parquet", "arrow") else _of_bytes
    batches = read(plan, parts, content)
    return _renamed(plan, batches) if plan.options.rename else batches


def _renamed(plan: SourcePlan, read: Iterator[ReadBatch]) -> Iterator[ReadBatch]:
    for batch, number, done in read:
        schema = renamed(plan.options, batch.schema)
        yield ReadBatch(pa.RecordBatch.from_arrays(batch.columns, schema=schema), number, done)


def _of_bytes(plan: SourcePlan, parts: list[FilePart], content: ReadContent) -> Iterator[ReadBatch]:
    if plan.format == "csv":
        return read_csv(plan, parts, content.open_plain)
    if plan.format == "jsonl":
        return read_jsonl(plan, parts, content.open_plain)
    starts = {number: start for number, start, _ in parts}
    read = read_pieces(plan.files, parts, plan.options.piece_bytes, content.open_bytes)
    return (ReadBatch(batch, number, at - starts[number]) for batch, number, at in read)


def _of_columns(plan: SourcePlan, parts: list[FilePart], content: ReadContent) -> Iterator[ReadBatch]:
    names = plan.source_schema.names
    for number, start, stop in parts:
        file = plan.files[number]
        if plan.format == "parquet":
            read = read_parquet(file, plan.source_schema, start, stop)
        else:
            read = read_arrow(file, content.open_plain, plan.options.max_unit_bytes, start, stop)
        for batch, done in read:
            yield ReadBatch(batch if batch.schema.names == names else batch.select(names), number, done)
