"""Estimate the disk that a preparation takes, from the schemas and rows of its inputs alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from millrace.training.prepare.query import CheckedQuery

_TEXT_BYTES: Final = 24
_ROW_BYTES: Final = 40
"""The hashes and numbers that are sorted beside each row of the result."""
_COPIES: Final = 3
"""The result is stored once, sorted once, and read once while the sorted runs are merged."""
_LEAST_BYTES: Final = 32_000_000


@dataclass(frozen=True, slots=True)
class ScratchEstimate:
    """Upper bounds: rows of the result, bytes of the inputs without compression, and bytes of disk to reserve."""

    rows: int
    input_bytes: int
    scratch_bytes: int


def estimate_scratch(
    query: CheckedQuery, schemas: Mapping[str, pa.Schema], rows: Mapping[str, int], result: pa.Schema | None = None
) -> ScratchEstimate:
    """Return the estimate for inputs of so many rows; ``result`` are the columns of the query's result, where known.

    The key is unique in the main input and in the result, so the result has at most the rows of the main input.
    """
    widths = {
        alias: sum(_value_bytes(schemas[alias].field(name).type) for name in need.columns)
        for alias, need in query.needs.items()
    }
    input_bytes = sum(width * rows[alias] for alias, width in widths.items())
    main_rows = rows[next(iter(query.needs))]
    fields = result or pa.schema([])
    width = sum(_value_bytes(field.type) for field in fields) if len(fields) else sum(widths.values())
    result_bytes = _COPIES * main_rows * (width + _ROW_BYTES)
    return ScratchEstimate(main_rows, input_bytes, _LEAST_BYTES + input_bytes + result_bytes)


def _value_bytes(kind: pa.DataType) -> int:
    """Return the bytes of a typical value of a type."""
    if pa.types.is_fixed_size_list(kind):
        return int(kind.list_size) * _value_bytes(kind.value_type)
    try:
        return max(1, int(kind.bit_width) // 8)
    except ValueError:
        return _TEXT_BYTES
