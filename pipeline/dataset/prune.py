"""Which chunks a filter can be answered without: by the bounds in the manifest, before any byte is fetched.

Arrow's own simplifier decides: each chunk is shown to ``pyarrow.dataset`` as a fragment whose partition expression is
what its statistics guarantee, and ``get_fragments`` drops those for which the filter can only be false. Nothing is
opened; a bound that is not known guarantees nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
import pyarrow.fs as pafs

from pipeline.chunks import cast_batch, stats_schema

__all__ = ["kept_chunks"]


def kept_chunks(
    condition: pc.Expression,
    schema: pa.Schema,
    columns: Sequence[int],
    stats: pa.RecordBatch,
    rows: Sequence[int],
) -> list[int]:
    """Positions of the chunks that may hold a row for which ``condition`` is true, ascending.

    ``columns`` are the indices of the columns that the condition uses, ``stats`` the statistics of those, of any
    physical types; ``stats`` and ``rows`` have one entry a chunk.
    """
    fields = [schema.field(column) for column in columns]
    logical = cast_batch(stats, stats_schema(pa.schema(fields)))
    known = [(field, bounds.to_pylist()) for field, bounds in zip(fields, logical.columns, strict=True)]
    style = pads.IpcFileFormat()
    nowhere = pafs.LocalFileSystem()
    fragments = []
    for position, count in enumerate(rows):
        facts = [_guarantee(field, column[position], count) for field, column in known]
        guarantee = functools.reduce(lambda a, b: a & b, (fact for fact in facts if fact is not None), pc.scalar(True))
        fragments.append(style.make_fragment(str(position), filesystem=nowhere, partition_expression=guarantee))
    everything = pads.FileSystemDataset(fragments, schema, style, nowhere)
    return [int(fragment.path) for fragment in everything.get_fragments(filter=condition)]


def _guarantee(field: pa.Field, stats: dict[str, object] | None, rows: int) -> pc.Expression | None:
    if stats is None or stats["nulls"] is None:
        return None
    name = pc.field(field.name)
    if stats["nulls"] == rows:
        return name.is_null()
    if stats["min"] is None or stats["max"] is None:
        return None
    low, high = pa.scalar(stats["min"], field.type), pa.scalar(stats["max"], field.type)
    within = (name >= low) & (name <= high)
    return within | name.is_null() if stats["nulls"] else within & name.is_valid()
