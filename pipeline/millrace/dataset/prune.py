"""Which chunks a filter can be answered without: by the bounds in the manifest, before any byte is fetched.

Arrow's own simplifier decides: each chunk is shown to ``pyarrow.dataset`` as a fragment whose partition expression is
what its statistics guarantee, and ``get_fragments`` drops those for which the filter can only be false. Nothing is
opened; a bound that is not known guarantees nothing.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
import pyarrow.fs as pafs

from millrace.chunks import cast_batch, stats_schema
from millrace.widening import decoded_type

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
    """Positions of the chunks that may hold a row for which ``condition`` is true, ascending.

    ``columns`` are the indices of the columns that the condition uses, ``stats`` the statistics of those, of any
    physical types; ``stats`` and ``rows`` have one entry a chunk.
    """
    fields = [schema.field(column) for column in columns]
    if not _is_simple(str(condition), fields):
        return list(range(len(rows)))
    logical = cast_batch(stats, stats_schema(pa.schema(fields)))
    # Bounds stay Arrow's: Python has no nanoseconds, and to make its own times of 32 chunks takes half a millisecond.
    known = [(field, bounds.flatten()) for field, bounds in zip(fields, logical.columns, strict=True)]
    # A condition on a dictionary is one on its values; Arrow simplifies none on the dictionary itself.
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
        # It can be answered for rows, or it would have been refused before; then it is for the rows to answer.
        return list(range(len(rows)))


def _is_simple(condition: str, fields: Sequence[pa.Field]) -> bool:
    """Whether Arrow's simplifier can be trusted with it: where it casts, it is wrong, and so it is with a NaN.

    It takes casts that round for casts that keep the order, compares the values of a set before they are cast to the
    column's type, and holds no number for outside ``not (x < nan)``, wherever the NaN comes from.
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
    # A dictionary may hold a null among its values, which is no null to Arrow's is_null, and one to a cast: of its
    # nulls nothing is promised.
    unsure = pa.types.is_dictionary(field.type)
    if nulls.as_py() == rows:
        return None if unsure else name.is_null()
    if not (low.is_valid and high.is_valid):
        return None
    kind = decoded_type(field.type)
    if not low.type.equals(kind):
        low, high = low.cast(kind), high.cast(kind)
    if nulls.as_py() or unsure:
        # Bound by bound: "(within both) or null" says the same, and Arrow leaves out no chunk for it.
        return ((name >= low) | name.is_null()) & ((name <= high) | name.is_null())
    return (name >= low) & (name <= high) & name.is_valid()
