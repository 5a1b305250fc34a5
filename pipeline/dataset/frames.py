"""A table as a data frame of pandas or polars, where they are installed."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import Any

import pyarrow as pa

from pipeline.errors import UsageError

__all__ = ["pandas_frame", "polars_frame", "require"]


def require(package: str) -> ModuleType:
    """The package, which no image of ours has; ``UsageError`` where it is not installed, before anything is read."""
    try:
        return import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise UsageError(
            f"{package} is not installed", hint=f"pip install {package}, or read with to_table()"
        ) from None


def pandas_frame(table: pa.Table, **options: Any) -> Any:
    """A pandas DataFrame; ``options`` are those of ``pyarrow.Table.to_pandas``.

    A column of whole numbers that holds nulls has pandas' own type for that (``Int64``), unless ``options`` name other
    types: float64 would round numbers above 2**53.
    """
    frame = table.to_pandas(**options)
    if not {"types_mapper", "integer_object_nulls"} & options.keys():
        for name, column in zip(table.column_names, table.columns, strict=True):
            if column.null_count and pa.types.is_integer(column.type) and name in frame.columns:
                frame[name] = column.to_pandas(types_mapper=_nullable).array
    return frame


def polars_frame(table: pa.Table) -> Any:
    """A polars DataFrame."""
    return require("polars").from_arrow(table)


def _nullable(kind: pa.DataType) -> Any:
    return require("pandas").api.types.pandas_dtype(str(kind).replace("int", "Int").replace("uI", "UI"))
