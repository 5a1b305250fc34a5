"""Operations on Arrow types and arrays that pyarrow does not offer, shared by all rooms."""

from millrace.arrow.check import check_column
from millrace.arrow.equality import same_values
from millrace.arrow.nested import Change, nulls_of, with_children
from millrace.arrow.nested_layout import (
    is_list_like,
    is_view,
    list_children,
    list_ranges,
    lists_of,
    run_ends,
    runs_of,
    union_of,
    union_parts,
    views_of,
)
from millrace.arrow.schemas import wider_schema
from millrace.arrow.selection import decoded, filtered, list_values, run_values, taken
from millrace.arrow.sizes import cumulative_row_bytes, held_bytes
from millrace.arrow.types import Path, holds, holds_pair, is_dense_union, leaves
from millrace.arrow.widening import (
    decoded_type,
    is_text,
    widens,
    wider_inferred_type,
    wider_type,
    widest_type,
)

__all__ = [
    "Change",
    "Path",
    "check_column",
    "cumulative_row_bytes",
    "decoded",
    "decoded_type",
    "filtered",
    "held_bytes",
    "holds",
    "holds_pair",
    "is_dense_union",
    "is_list_like",
    "is_text",
    "is_view",
    "leaves",
    "list_children",
    "list_ranges",
    "list_values",
    "lists_of",
    "nulls_of",
    "run_ends",
    "run_values",
    "runs_of",
    "same_values",
    "taken",
    "union_of",
    "union_parts",
    "views_of",
    "widens",
    "wider_inferred_type",
    "wider_schema",
    "widest_type",
    "wider_type",
    "with_children",
]
