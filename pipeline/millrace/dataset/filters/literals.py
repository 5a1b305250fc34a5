"""Convert literals of a filter to values of their columns' types, exactly, or refuse them."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa

from millrace.arrow import decoded_type, is_text
from millrace.dataset.filters.filter_literal import FilterLiteral, UnfitError
from millrace.dataset.filters.temporal_literals import date_scalar, time_scalar, timestamp_scalar
from millrace.errors import UsageError


def comparable_type(kind: pa.DataType) -> pa.DataType | None:
    """Return the type in which values of ``kind`` are compared; None when they cannot be compared.

    It differs from ``kind`` for dictionaries and where pyarrow has no kernels for ``kind``. The conversion is exact.
    """
    if pa.types.is_dictionary(kind):
        return comparable_type(kind.value_type)
    if pa.types.is_float16(kind):
        return pa.float32()
    if kind == pa.string_view():
        return pa.string()
    if pa.types.is_decimal32(kind) or pa.types.is_decimal64(kind):
        return pa.decimal128(kind.precision, kind.scale)
    return kind if any(check(kind) for check, _ in _CONVERSIONS) else None


def convert_literal(literal: FilterLiteral, column: str, kind: pa.DataType) -> pa.Scalar:
    """Return the literal as a scalar of ``comparable_type(kind)``, with exactly the value that was written.

    Only numbers for floating point columns are rounded, to the nearest value of the column's own type. A time without
    an offset is local time in the time zone of a column that has one. Raises ``UsageError`` for a literal of another
    kind, outside the type's range, or finer than the type.
    """
    value_type = decoded_type(kind)
    target = comparable_type(kind)
    for check, convert in _CONVERSIONS:
        if target is not None and (check(value_type) or check(target)):
            try:
                return convert(literal, value_type).cast(target)
            except UnfitError as unfit:
                raise UsageError(
                    f"{literal} cannot be compared with column {column!r} of type {kind}",
                    hint=str(unfit),
                    column=column,
                    actual=str(literal),
                ) from None
    raise UsageError(f"column {column!r} of type {kind} cannot be compared with {literal}", hint="use is null")


def _number(literal: FilterLiteral) -> Decimal:
    if literal.kind != "number":
        raise UnfitError("write a number without quotes")
    try:
        value = Decimal(literal.text)
    except InvalidOperation:
        raise UnfitError("this is not a number") from None
    # A number with an exponent of a billion would become an integer of a billion digits.
    if value.adjusted() > 400 or value.adjusted() < -400:
        raise UnfitError("this number is outside of every column type's range")
    return value


def _integer(literal: FilterLiteral, kind: pa.DataType) -> pa.Scalar:
    value = _number(literal)
    if value != value.to_integral_value():
        raise UnfitError("the column holds whole numbers")
    bits, signed = kind.bit_width, pa.types.is_signed_integer(kind)
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    if not low <= value <= high:
        raise UnfitError(f"the column holds numbers from {low} to {high}")
    return pa.scalar(int(value), kind)


def _float(literal: FilterLiteral, kind: pa.DataType) -> pa.Scalar:
    _number(literal)
    # Arrow parses text directly to the type, except to half floats. A wider type in between would round twice.
    value = _half(literal.text) if pa.types.is_float16(kind) else pa.scalar(literal.text, pa.string()).cast(kind)
    if abs(value.cast(pa.float64()).as_py()) == float("inf"):
        raise UnfitError("the number is too large for the column's type")
    return value


def _half(text: str) -> pa.Scalar:
    """Return the half float nearest to the text; of two equally near ones, the even one."""
    with np.errstate(over="ignore", under="ignore"):
        guess = np.float16(float(text))
        near = [guess, *(np.nextafter(guess, np.float16(side)) for side in (-np.inf, np.inf))]
    if not np.isfinite(guess):
        return pa.scalar(guess, pa.float16())
    exact = Fraction(text)
    best = min(
        filter(np.isfinite, near),
        key=lambda half: (abs(Fraction(float(half)) - exact), int(half.view(np.uint16)) & 1),
    )
    return pa.scalar(best, pa.float16())


def _decimal(literal: FilterLiteral, kind: pa.DataType) -> pa.Scalar:
    try:
        return pa.scalar(_number(literal), kind)
    except (pa.ArrowInvalid, OverflowError):
        raise UnfitError(f"the column holds {kind.precision} digits, {kind.scale} of them after the point") from None


def _string(literal: FilterLiteral, kind: pa.DataType) -> pa.Scalar:
    if literal.kind != "string":
        raise UnfitError(f"write text in single quotes: '{literal.text}'")
    return pa.scalar(literal.text, kind)


def _boolean(literal: FilterLiteral, kind: pa.DataType) -> pa.Scalar:
    if literal.kind != "boolean":
        raise UnfitError("write true or false")
    return pa.scalar(literal.text == "true", kind)


_CONVERSIONS: tuple[tuple[Callable[[pa.DataType], bool], Callable[[FilterLiteral, pa.DataType], Any]], ...] = (
    (pa.types.is_integer, _integer),
    (pa.types.is_floating, _float),
    (pa.types.is_decimal, _decimal),
    (is_text, _string),
    (pa.types.is_boolean, _boolean),
    (pa.types.is_date, date_scalar),
    (pa.types.is_time, time_scalar),
    (pa.types.is_timestamp, timestamp_scalar),
)
