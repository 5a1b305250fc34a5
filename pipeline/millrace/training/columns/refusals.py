"""The errors for columns whose type a format of batches cannot hold."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa

from millrace.arrow import BYTES, TEXTS, holds, is_list_like
from millrace.errors import UsageError
from millrace.training.columns.batch_format import BatchFormat

_types = pa.types


def refused_type(field: pa.Field, format: BatchFormat) -> UsageError:
    """Return the error that names the column, its type, the reason and the ways out."""
    reasons = (reason for matches, reason in _REASONS if holds(field.type, matches))
    return UsageError(
        f"format={format.value!r} cannot hold column {field.name!r} of type {field.type}: "
        f"{next(reasons, 'its rows hold no values')}",
        hint="leave it out with columns=[...] or --columns"
        + ("" if format is BatchFormat.ARROW else ", or use format='arrow' or --format arrow"),
        column=field.name,
    )


def _differs_in_size(type_: pa.DataType) -> bool:
    return type_ in TEXTS or type_ in BYTES or (is_list_like(type_) and not _types.is_fixed_size_list(type_))


def _has_no_dtype(type_: pa.DataType) -> bool:
    return bool(_types.is_decimal(type_) or _types.is_interval(type_))


_REASONS: tuple[tuple[Callable[[pa.DataType], object], str], ...] = (
    (_differs_in_size, "its rows differ in size"),
    (lambda type_: _types.is_struct(type_) or _types.is_union(type_), "its rows have several fields"),
    (_types.is_null, "it holds nothing but nulls"),
    (_has_no_dtype, "NumPy has no such type"),
    (_types.is_dictionary, "its dictionaries cannot be joined"),
    (_types.is_temporal, "torch has no dates and times"),
)
