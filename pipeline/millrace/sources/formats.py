"""Dispatch of a plan's parts to the reader of its format; this is the only module that imports all the readers."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from millrace.sources.arrow.reader import read_arrow
from millrace.sources.bytes.reader import read_pieces
from millrace.sources.csv.reader import CsvReader
from millrace.sources.io.source_checksum import ReadContent
from millrace.sources.io.stdin import STANDARD_INPUT, standard_input
from millrace.sources.jsonl.reader import JsonlReader
from millrace.sources.model import SourcePlan
from millrace.sources.parquet.reader import read_parquet
from millrace.sources.table_options import renamed

__all__ = ["batches_of"]

Part = tuple[int, int, int]
Read = tuple[pa.RecordBatch, int, int]
"""A batch, the number of its file, and the number of bytes of this part of the file that were read so far."""


def batches_of(plan: SourcePlan, parts: list[Part], content: ReadContent, *, preview: bool = False) -> Iterator[Read]:
    """Yield all batches of the given parts (file, start, stop), in order, with the columns in the plan's order.

    ``content`` records the content of the bytes that are read. With ``preview`` standard input is kept for the load
    that follows.
    """
    if plan.uri == STANDARD_INPUT and not preview:
        standard_input().load()
    read = _of_columns if plan.format in ("parquet", "arrow") else _of_bytes
    batches = read(plan, parts, content)
    return _renamed(plan, batches) if plan.options.rename else batches


def _renamed(plan: SourcePlan, read: Iterator[Read]) -> Iterator[Read]:
    for batch, number, done in read:
        schema = renamed(plan.options, batch.schema)
        yield pa.RecordBatch.from_arrays(batch.columns, schema=schema), number, done


def _of_bytes(plan: SourcePlan, parts: list[Part], content: ReadContent) -> Iterator[Read]:
    read: Iterator[Read]
    if plan.format == "csv":
        read = CsvReader.of_plan(plan, content.open_plain).batches(parts)
    elif plan.format == "jsonl":
        read = JsonlReader.of_plan(plan, content.open_plain).batches(parts)
    else:
        read = read_pieces(plan.files, parts, plan.options.piece_bytes, content.open_bytes)
    starts = {number: start for number, start, _ in parts}
    for batch, number, at in read:
        yield batch, number, at - starts[number]


def _of_columns(plan: SourcePlan, parts: list[Part], content: ReadContent) -> Iterator[Read]:
    names = plan.source_schema.names
    for number, start, stop in parts:
        file = plan.files[number]
        if plan.format == "parquet":
            read = read_parquet(file, plan.source_schema, start, stop)
        else:
            read = read_arrow(file, content.open_plain, plan.options.max_unit_bytes, start, stop)
        for batch, done in read:
            yield batch if batch.schema.names == names else batch.select(names), number, done
