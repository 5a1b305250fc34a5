"""Operations on Arrow types and arrays that pyarrow does not offer, shared by all rooms."""

from millrace.arrow.check import check_column
from millrace.arrow.equality import same_values
from millrace.arrow.nested import Change, with_children
from millrace.arrow.nested_layout import (
    is_list_like,
    is_valid,
    is_view,
    list_children,
    list_ranges,
    list_types,
    lists_of,
    run_ends,
    runs_of,
    views_of,
)
from millrace.arrow.numbers import array_of_values, stored_dtype, stored_values
from millrace.arrow.schemas import wider_schema
from millrace.arrow.selection import decoded, filtered, list_values, run_values, taken
from millrace.arrow.sizes import CELL_BYTES, cumulative_row_bytes, held_bytes
from millrace.arrow.types import (
    BYTES,
    OFFSET_TYPES,
    TEXTS,
    VIEWS,
    Path,
    decoded_type,
    holds_pair,
    is_text,
    leaves,
    with_fields,
)
from millrace.arrow.widening import widens, wider_inferred_type, wider_type, widest_type
from millrace.compat.pyarrow.nested import is_dense_union, nulls_of, union_of, union_parts
from millrace.compat.pyarrow.types import fields_of, holds, is_extension

__all__ = [
    "BYTES",
    "CELL_BYTES",
    "Change",
    "OFFSET_TYPES",
    "Path",
    "TEXTS",
    "VIEWS",
    "array_of_values",
    "check_column",
    "cumulative_row_bytes",
    "decoded",
    "decoded_type",
    "fields_of",
    "filtered",
    "held_bytes",
    "holds",
    "holds_pair",
    "is_dense_union",
    "is_extension",
    "is_list_like",
    "is_text",
    "is_valid",
    "is_view",
    "leaves",
    "list_children",
    "list_ranges",
    "list_types",
    "list_values",
    "lists_of",
    "nulls_of",
    "run_ends",
    "run_values",
    "runs_of",
    "same_values",
    "stored_dtype",
    "stored_values",
    "taken",
    "union_of",
    "union_parts",
    "views_of",
    "widens",
    "wider_inferred_type",
    "wider_schema",
    "wider_type",
    "widest_type",
    "with_children",
    "with_fields",
]
