"""Convert tables to data frames of pandas or polars, where these are installed."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import Any

import pyarrow as pa

from millrace.arrow import leaves
from millrace.errors import UsageError


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


def _has_gaps(array: pa.Array) -> bool:
    """Return whether nulls are among integers, at any depth."""
    return any(pa.types.is_integer(leaf.type) and leaf.null_count for _, leaf in leaves(array, ()))


def _nullable(kind: pa.DataType) -> Any:
    if pa.types.is_nested(kind):
        return require("pandas").ArrowDtype(kind)
    return require("pandas").api.types.pandas_dtype(str(kind).replace("int", "Int").replace("uI", "UI"))
