"""Checks of Arrow types that several packages use."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa

__all__ = ["holds", "is_dense_union"]


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
