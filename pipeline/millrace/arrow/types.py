"""Checks of Arrow types that several packages use."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow as pa

Path = tuple[str | None, ...]
"""The path of nested values: the column, then the fields of structs, and None for the elements of a list."""

TEXTS = (pa.string(), pa.string_view(), pa.large_string())
BYTES = (pa.binary(), pa.binary_view(), pa.large_binary())
"""Of two types with the same values the later one is used when types are widened."""
VIEWS = {pa.string_view(): pa.large_string(), pa.binary_view(): pa.large_binary()}
"""Views of texts and bytes, each with the type that has the same values and more kernels."""
OFFSET_TYPES = {pa.string(): "<i4", pa.binary(): "<i4", pa.large_string(): "<i8", pa.large_binary(): "<i8"}
"""Types of texts and bytes with offsets, each with the numpy type of its offsets."""

_LISTS = {
    pa.ListType: pa.list_,
    pa.LargeListType: pa.large_list,
    pa.ListViewType: pa.list_view,
    pa.LargeListViewType: pa.large_list_view,
}


def is_text(kind: pa.DataType) -> bool:
    """Return whether the type is one of the three text types."""
    return kind in TEXTS


def decoded_type(kind: pa.DataType) -> pa.DataType:
    """Return the type of a dictionary's values; any other type unchanged."""
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def with_fields(kind: pa.DataType, fields: Sequence[pa.Field]) -> pa.DataType:
    """Return a nested type (not run-end encoded) with other fields."""
    types = pa.types
    if types.is_struct(kind):
        return pa.struct(fields)
    if types.is_union(kind):
        return pa.union(fields, kind.mode, kind.type_codes)
    if types.is_map(kind):
        return pa.map_(*fields[0].type, keys_sorted=kind.keys_sorted)
    if types.is_fixed_size_list(kind):
        return pa.list_(fields[0], kind.list_size)
    return _LISTS[type(kind)](fields[0])


def holds_pair(one: pa.DataType, other: pa.DataType, check: Callable[[pa.DataType, pa.DataType], object]) -> bool:
    """Return whether ``check`` is true of both types themselves, or of two types at the same position within them.

    Dictionaries count as their values.
    """
    one, other = decoded_type(one), decoded_type(other)
    children = range(min(one.num_fields, other.num_fields))
    return bool(check(one, other)) or any(
        holds_pair(one.field(number).type, other.field(number).type, check) for number in children
    )


def leaves(array: Any, path: Path) -> Iterator[tuple[Path, pa.Array]]:
    """Yield the arrays of plain values (no structs, lists or maps) within an array, each with its path."""
    if pa.types.is_struct(array.type):
        for field, child in zip(array.type, array.flatten(), strict=True):
            yield from leaves(child, (*path, field.name))
    elif pa.types.is_list(array.type) or pa.types.is_large_list(array.type) or pa.types.is_fixed_size_list(array.type):
        yield from leaves(array.flatten(), (*path, None))
    elif pa.types.is_map(array.type):
        yield from leaves(array.keys, (*path, None))
        yield from leaves(array.items, (*path, None))
    else:
        yield path, array
