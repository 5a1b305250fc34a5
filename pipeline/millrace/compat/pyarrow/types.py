"""Search types recursively, also the value types of dictionaries and the storage types of extensions."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa


def fields_of(kind: pa.DataType) -> list[pa.Field]:
    """Return the fields of a nested type; only structs have a property for them."""
    return [kind.field(number) for number in range(kind.num_fields)]


def holds(kind: pa.DataType, check: Callable[[pa.DataType], object]) -> bool:
    """Return whether ``check`` is true of the type itself or of a type within it."""
    if check(kind):
        return True
    if pa.types.is_dictionary(kind):
        return holds(kind.value_type, check)
    if isinstance(kind, pa.BaseExtensionType):
        return holds(kind.storage_type, check)
    return any(holds(field.type, check) for field in fields_of(kind))


def is_extension(kind: pa.DataType) -> bool:
    """Return whether the type is an extension type, whose storage alone does not carry its meaning.

    pyarrow 25 ends the process when it casts lists of tensors.
    """
    return isinstance(kind, pa.BaseExtensionType)
