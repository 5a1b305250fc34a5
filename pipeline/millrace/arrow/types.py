"""Checks of Arrow types that several packages use."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa

Path = tuple[str | None, ...]
"""The path of nested values: the column, then the fields of structs, and None for the elements of a list."""


def holds(kind: pa.DataType, check: Callable[[pa.DataType], object]) -> bool:
    """Return whether ``check`` is true of the type itself or of a type within it."""
    return bool(check(kind)) or any(holds(child, check) for child in _children(kind))


def _children(kind: pa.DataType) -> list[pa.DataType]:
    if pa.types.is_dictionary(kind):
        return [kind.value_type]
    if isinstance(kind, pa.BaseExtensionType):
        return [kind.storage_type]
    return [kind.field(i).type for i in range(kind.num_fields)]


def is_dense_union(kind: pa.DataType) -> bool:
    """Return whether the type is a union whose rows refer to their values by an offset into a child.

    pyarrow 25 assumes that no two rows share an offset. If two do, ``nbytes`` reads past the end of a child, which may
    end the process.
    """
    return bool(pa.types.is_union(kind) and kind.mode == "dense")


def holds_pair(one: pa.DataType, other: pa.DataType, check: Callable[[pa.DataType, pa.DataType], object]) -> bool:
    """Return whether ``check`` is true of both types themselves, or of two types at the same position within them.

    Dictionaries count as their values.
    """
    one, other = (kind.value_type if pa.types.is_dictionary(kind) else kind for kind in (one, other))
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
