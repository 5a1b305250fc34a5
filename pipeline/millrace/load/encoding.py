"""Encode the rows of a load as chunks on all cores, in the order of the rows and in bounded memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing

import pyarrow as pa

from millrace.chunks import Chunk, RowGroup, RowGrouper, encode_row_group
from millrace.load.plan import LoadPlan
from millrace.parallel import in_order, worker_count

ENCODE_BYTES_MAX = 64_000_000
"""Raw bytes of row groups that are being encoded or waiting for it, for any number of cores."""


def encoded_chunks(
    plan: LoadPlan, batches: Iterable[pa.RecordBatch], *, threads: int | None, grouper: RowGrouper | None = None
) -> Iterator[Chunk]:
    """Yield the chunks in the order of their rows, by default cut by the settings of the plan.

    Row groups are encoded in parallel, by default in one thread for each core. Further rows are read meanwhile.
    """
    threads = threads or worker_count()
    encoded = in_order(
        # The encoder releases the rows half-way, which frees them only if it has the last reference.
        lambda group: encode_row_group(group.pop(), plan.chunks, plan.layout),
        _groups(grouper or RowGrouper(plan.chunks), batches),
        threads=threads,
        name="millrace-encode",
        items_max=threads + 1,
        bytes_max=ENCODE_BYTES_MAX,
        size_of=lambda group: group[0].nbytes,
    )
    with closing(encoded):
        for _, chunks in encoded:
            yield from chunks.result()


def _groups(grouper: RowGrouper, batches: Iterable[pa.RecordBatch]) -> Iterator[list[RowGroup]]:
    """Yield lists of one row group each, without keeping a reference to it."""
    for batch in batches:
        yield from map(_in_list, grouper.feed(batch))
    yield from map(_in_list, grouper.finish())


def _in_list(group: RowGroup) -> list[RowGroup]:
    return [group]
