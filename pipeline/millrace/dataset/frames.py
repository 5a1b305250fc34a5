"""Convert tables to data frames of pandas or polars, where these are installed."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import Any

import pyarrow as pa

from millrace.errors import UsageError

__all__ = ["pandas_frame", "polars_frame", "require"]


def require(package: str) -> ModuleType:
    """Import the package; raise ``UsageError`` where it is not installed, before any row is read.

    No image of Millrace contains the package.
    """
    try:
        return import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise UsageError(
            f"{package} is not installed", hint=f"pip install {package}, or read with to_table()"
        ) from None


def pandas_frame(table: pa.Table, **options: Any) -> Any:
    """Convert to a pandas DataFrame; ``options`` are those of ``pyarrow.Table.to_pandas``.

    A column of integers with nulls has pandas' nullable type (``Int64``). A column of lists, structs or maps of such
    integers is a ``pandas.ArrowDtype``. Both apply unless ``options`` choose other types. float64 would round integers
    above 2**53.
    """
    frame = table.to_pandas(**options)
    if not {"types_mapper", "integer_object_nulls"} & options.keys():
        for name, column in zip(table.column_names, table.columns, strict=True):
            if name in frame.columns and any(map(_has_gaps, column.chunks)):
                frame[name] = column.to_pandas(types_mapper=_nullable).array
    return frame


def _has_gaps(array: Any) -> bool:
    """Return whether there are nulls among integers, at any depth."""
    types, kind = pa.types, array.type
    if types.is_integer(kind):
        return bool(array.null_count)
    if types.is_struct(kind):
        return any(map(_has_gaps, array.flatten()))
    if types.is_map(kind):
        return _has_gaps(array.keys) or _has_gaps(array.items)
    is_list = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    return bool(is_list) and _has_gaps(array.flatten())


def polars_frame(table: pa.Table) -> Any:
    """Convert to a polars DataFrame."""
    return require("polars").from_arrow(table)


def _nullable(kind: pa.DataType) -> Any:
    if pa.types.is_nested(kind):
        return require("pandas").ArrowDtype(kind)
    return require("pandas").api.types.pandas_dtype(str(kind).replace("int", "Int").replace("uI", "UI"))
