"""Widening of whole schemas, column by column."""

from __future__ import annotations

import pyarrow as pa

from millrace.arrow.widening import wider_type
from millrace.errors import SourceTypeError
from millrace.names import column_type_option


def wider_schema(one: pa.Schema, other: pa.Schema) -> pa.Schema:
    """Return the schema with the ``wider_type`` of each column; raise ``SourceTypeError`` if a column has none.

    Columns match by position and keep the names and metadata of ``one``.
    """
    if one.equals(other, check_metadata=False):
        return one
    if one.names != other.names:
        raise SourceTypeError("the columns change within the source", expected=one.names, actual=other.names)
    fields = []
    for mine, theirs in zip(one, other, strict=True):
        common = wider_type(mine.type, theirs.type)
        if common is None:
            raise SourceTypeError(
                f"column {mine.name!r} changes from {mine.type} to {theirs.type}",
                hint=f"give its type with {column_type_option(mine.name, 'TYPE')}",
                column=mine.name,
                expected=str(mine.type),
                actual=str(theirs.type),
            )
        fields.append(mine.with_type(common).with_nullable(mine.nullable or theirs.nullable))
    return pa.schema(fields, metadata=one.metadata)
