"""Questions about Arrow's types that more than one room asks."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa

__all__ = ["holds", "is_dense_union"]


def holds(kind: pa.DataType, check: Callable[[pa.DataType], object]) -> bool:
    """Whether the type itself, or one that it is made of, is such a one."""
    return bool(check(kind)) or any(holds(child, check) for child in _children(kind))


def _children(kind: pa.DataType) -> list[pa.DataType]:
    if pa.types.is_dictionary(kind):
        return [kind.value_type]
    if isinstance(kind, pa.BaseExtensionType):
        return [kind.storage_type]
    return [kind.field(i).type for i in range(kind.num_fields)]


def is_dense_union(kind: pa.DataType) -> bool:
    """A union whose rows say where in their child their value is.

    pyarrow 25 takes for granted that no two rows share one: where they do, ``nbytes`` reads behind the end of a child,
    and the process may end.
    """
    return bool(pa.types.is_union(kind) and kind.mode == "dense")
