"""Find the chunks that a filter can skip, by the bounds in the manifest, before any byte is fetched.

Arrow's own simplifier decides. Each chunk becomes a fragment of ``pyarrow.dataset`` with the guarantees of its
statistics as its partition expression. ``get_fragments`` drops fragments for which the filter can only be false. No
file is opened. An unknown bound guarantees nothing.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
import pyarrow.fs as pafs

from millrace.arrow import decoded_type
from millrace.chunks import cast_batch, stats_schema

__all__ = ["kept_chunks"]

_NAN = re.compile(r"\bnan\b", re.IGNORECASE)
_CALL = re.compile(r"(\w+)\(")
_SIMPLE = {"is_in", "is_null", "is_valid", "invert"}
_SET = re.compile(r"is_in\((.+?), \{value_set=(.+?):")


def kept_chunks(
    condition: pc.Expression,
    schema: pa.Schema,
    columns: Sequence[int],
    stats: pa.RecordBatch,
    rows: Sequence[int],
) -> list[int]:
    """Return the positions of the chunks that may hold a row for which ``condition`` is true, ascending.

    ``columns`` are the indices of the columns that the condition uses. ``stats`` are the statistics of those columns,
    of any physical types. ``stats`` and ``rows`` have one entry a chunk.
    """
    fields = [schema.field(column) for column in columns]
    if not _is_simple(str(condition), fields):
        return list(range(len(rows)))
    logical = cast_batch(stats, stats_schema(pa.schema(fields)))
    # Bounds stay Arrow scalars: Python has no nanoseconds, and converting times of 32 chunks takes half a millisecond.
    known = [(field, bounds.flatten()) for field, bounds in zip(fields, logical.columns, strict=True)]
    # A condition on a dictionary applies to its values. Arrow does not simplify conditions on the dictionary type.
    decoded = pa.schema([field.with_type(decoded_type(field.type)) for field in fields])
    style = pads.IpcFileFormat()
    nowhere = pafs.LocalFileSystem()
    fragments = []
    for position, count in enumerate(rows):
        facts = [_guarantee(field, [each[position] for each in bounds], count) for field, bounds in known]
        guarantee = functools.reduce(lambda a, b: a & b, (fact for fact in facts if fact is not None), pc.scalar(True))
        fragments.append(style.make_fragment(str(position), filesystem=nowhere, partition_expression=guarantee))
    everything = pads.FileSystemDataset(fragments, decoded, style, nowhere)
    try:
        return [int(fragment.path) for fragment in everything.get_fragments(filter=condition)]
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError):
        # The condition is valid for rows, or it would have been refused before. All chunks are kept, and their rows
        # are tested.
        return list(range(len(rows)))


def _is_simple(condition: str, fields: Sequence[pa.Field]) -> bool:
    """Return whether Arrow's simplifier is correct for the condition; it is wrong with casts and with NaN.

    It treats casts that round as casts that keep the order. It compares the values of a set before they are cast to
    the column's type. It simplifies comparisons with NaN wrongly, as in ``not (x < nan)``, wherever the NaN comes from.
    """
    if _NAN.search(condition) or not set(_CALL.findall(condition)) <= _SIMPLE:
        return False
    sets = _SET.findall(condition)
    types = {field.name: str(decoded_type(field.type)) for field in fields}
    return len(sets) == condition.count("is_in(") and all(types.get(name) == kind for name, kind in sets)


def _guarantee(field: pa.Field, bounds: Sequence[pa.Scalar], rows: int) -> pc.Expression | None:
    nulls, low, high = bounds
    if not nulls.is_valid:
        return None
    name = pc.field(field.name)
    # A dictionary may hold a null among its values. Arrow's is_null does not count it, but a cast does. Therefore
    # nothing is guaranteed about nulls of a dictionary.
    unsure = pa.types.is_dictionary(field.type)
    if nulls.as_py() == rows:
        return None if unsure else name.is_null()
    if not (low.is_valid and high.is_valid):
        return None
    kind = decoded_type(field.type)
    if not low.type.equals(kind):
        low, high = low.cast(kind), high.cast(kind)
    if nulls.as_py() or unsure:
        # One term for each bound: "(within both) or null" is equivalent, but Arrow skips no chunk with it.
        return ((name >= low) | name.is_null()) & ((name <= high) | name.is_null())
    return (name >= low) & (name <= high) & name.is_valid()
