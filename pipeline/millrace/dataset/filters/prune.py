"""Find the chunks that a filter can skip, by the bounds in the manifest, before any byte is fetched.

Arrow's own simplifier decides. Each chunk becomes a fragment of ``pyarrow.dataset``, and the chunk's statistics become
the fragment's partition expression. An unknown bound is not part of the expression. ``get_fragments`` drops fragments
for which the filter can only be false. No file is opened.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
import pyarrow.fs as pafs

from millrace.arrow import decoded_type, holds
from millrace.chunks import selected_stats
from millrace.compat.pyarrow.expressions import Call, Column, Literal, Node, read_expression, walk

_SIMPLE = frozenset(
    {"and_kleene", "or_kleene", "invert", "is_null", "is_valid", "is_in"}
    | {"equal", "not_equal", "less", "less_equal", "greater", "greater_equal"}
)


@dataclass(frozen=True, slots=True)
class ChunkFilter:
    """A condition applied to the statistics of chunks.

    ``columns`` are the indices of the columns that it uses, and ``fields`` these columns. Without ``is_simple`` Arrow's
    simplifier may be wrong for the condition, and every chunk is kept.
    """

    condition: pc.Expression
    columns: tuple[int, ...]
    fields: tuple[pa.Field, ...]
    is_simple: bool

    @classmethod
    def of(cls, condition: pc.Expression, schema: pa.Schema, columns: Sequence[int]) -> ChunkFilter:
        """Return the filter for a condition that uses the columns with these indices of ``schema``."""
        fields = tuple(schema.field(column) for column in columns)
        return cls(condition, tuple(columns), fields, _is_simple(condition, fields))

    def kept(self, stats: pa.RecordBatch, rows: Sequence[int]) -> list[int]:
        """Return the positions of the chunks that may hold a row for which the condition is true, ascending.

        ``stats`` are the statistics of all columns that the chunks have, of any physical types. ``stats`` and ``rows``
        have one entry a chunk.
        """
        if not self.is_simple:
            return list(range(len(rows)))
        logical = selected_stats(stats, self.columns, pa.schema(self.fields), rows)
        # Bounds stay Arrow scalars: Python has no nanoseconds, and converting times of 32 chunks takes half a
        # millisecond.
        bounds = [(field, column.flatten()) for field, column in zip(self.fields, logical.columns, strict=True)]
        # A condition on a dictionary applies to its values. Arrow does not simplify conditions on the dictionary type.
        decoded = pa.schema([field.with_type(decoded_type(field.type)) for field in self.fields])
        file_format = pads.IpcFileFormat()
        filesystem = pafs.LocalFileSystem()
        fragments = []
        for position, count in enumerate(rows):
            facts = [_guarantee(field, [part[position] for part in parts], count) for field, parts in bounds]
            guarantee = functools.reduce(
                lambda a, b: a & b, (fact for fact in facts if fact is not None), pc.scalar(True)
            )
            fragments.append(
                file_format.make_fragment(str(position), filesystem=filesystem, partition_expression=guarantee)
            )
        dataset = pads.FileSystemDataset(fragments, decoded, file_format, filesystem)
        try:
            return [int(fragment.path) for fragment in dataset.get_fragments(filter=self.condition)]
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError):
            # The condition is valid for rows, or it would have been refused before. All chunks are kept, and their
            # rows are tested.
            return list(range(len(rows)))


def _is_simple(condition: pc.Expression, fields: Sequence[pa.Field]) -> bool:
    """Return whether Arrow's simplifier is correct for the condition; it is wrong with casts and with NaN.

    It treats casts that round as casts that keep the order. It compares the values of a set before they are cast to
    the column's type. It simplifies comparisons with NaN wrongly, as in ``not (x < nan)``, wherever the NaN comes from.
    """
    expression = read_expression(condition)
    types = {field.name: decoded_type(field.type) for field in fields}
    return expression is not None and all(_is_simple_node(node, types) for node in walk(expression))


def _is_simple_node(node: Node, types: Mapping[str, pa.DataType]) -> bool:
    match node:
        case Column(path):
            return len(path) == 1
        case Literal(values):
            return not _may_hold_nan(values)
        case Call("is_in", [Column((name,))], options) if options is not None:
            values = options["value_set"].values
            return bool(values.type.equals(types.get(name))) and not _may_hold_nan(values)
        case Call(function):
            return function in _SIMPLE and function != "is_in"


def _may_hold_nan(values: pa.Array) -> bool:
    kind = values.type
    if pa.types.is_floating(kind):
        return bool(pc.any(pc.is_nan(values)).as_py())
    return holds(kind, pa.types.is_floating)


def _guarantee(field: pa.Field, bounds: Sequence[pa.Scalar], rows: int) -> pc.Expression | None:
    nulls, low, high = bounds
    if not nulls.is_valid:
        return None
    name = pc.field(field.name)
    # A dictionary may hold a null among its values. Arrow's is_null does not count it, but a cast does. Therefore
    # nothing is guaranteed about nulls of a dictionary.
    may_hold_null_values = pa.types.is_dictionary(field.type)
    if nulls.as_py() == rows:
        return None if may_hold_null_values else name.is_null()
    if not (low.is_valid and high.is_valid):
        return None
    kind = decoded_type(field.type)
    if not low.type.equals(kind):
        low, high = low.cast(kind), high.cast(kind)
    if nulls.as_py() or may_hold_null_values:
        # One term for each bound: "(within both) or null" is equivalent, but Arrow skips no chunk with it.
        return ((name >= low) | name.is_null()) & ((name <= high) | name.is_null())
    return (name >= low) & (name <= high) & name.is_valid()
