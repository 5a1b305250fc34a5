"""Detection of numbers in text that a double would change, before their column is loaded as doubles.

A double represents every whole number up to 2^53 and some larger ones, so two different ids may become one double. A
number written with a fraction or an exponent is rounded to the nearest double, as every reader does. A number that
would be rounded to infinity is an error.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Container, Iterable, Iterator
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from millrace.arrow import Path, leaves
from millrace.display import shortened
from millrace.errors import SourceTypeError
from millrace.names import column_type_option

Find = Callable[[Path, pa.Array], SourceTypeError | None]

WHOLE_MAX: Final = 2**53
"""A double represents every whole number up to this one exactly."""
_WHOLE: Final = re.compile(rb"(?<![\d.])\d{16,}(?![\d.eE])")
_NUMBERS: Final = (pa.int64(), pa.float32(), pa.float64())
_DIGITS_MAX: Final = 38


class WholeNumbers:
    """Checker of the batches of one reader, in their order; columns with a ``given`` type may be rounded."""

    def __init__(self, given: Container[str]) -> None:
        self._given = given
        self._later_errors: dict[Path, SourceTypeError] = {}

    def with_doubt(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, bool]:
        """Return the batch, and whether it has a number so large that a double may change it.

        The parsing threads call this. In the reading thread it made a load of 19 columns an eighth slower. All
        columns of a type are checked in one call, because each call waits for Python's interpreter lock.
        """
        numbers: dict[tuple[pa.DataType, bool], list[pa.Array]] = {}
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            for _, leaf in leaves(column, (name,)):
                if leaf.type in _NUMBERS:
                    numbers.setdefault((leaf.type, name in self._given), []).append(leaf)
        groups = ((pa.chunked_array(arrays, kind), given) for (kind, given), arrays in numbers.items())
        return batch, any(_is_doubtful(group, given=given) for group, given in groups)

    @property
    def inexact_columns(self) -> frozenset[str]:
        """Return the columns of integers that cannot become doubles: no double represents one of their integers."""
        return frozenset(str(path[0]) for path in self._later_errors)

    def check(self, batch: pa.RecordBatch, doubt: bool, find: Find) -> None:
        """Raise the ``SourceTypeError`` that ``find`` returns for a double that is not the number in the text.

        ``find(path, values)`` searches the text. For an integer that no double represents, the error is stored and
        raised when the column becomes doubles in a later batch.
        """
        if not doubt and not self._later_errors:
            return
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            given = name in self._given
            for path, leaf in leaves(column, (name,)):
                if pa.types.is_float32(leaf.type) or pa.types.is_float64(leaf.type):
                    if path in self._later_errors:
                        raise self._later_errors[path]
                    if _is_doubtful(leaf, given=given) and (error := find(path, leaf)):
                        raise error
                elif (
                    pa.types.is_int64(leaf.type)
                    and not given
                    and path not in self._later_errors
                    and rounded(leaf) is not None
                    and (error := find(path, leaf))
                ):
                    self._later_errors[path] = error


def doubtful_leaves(batch: pa.RecordBatch, given: Container[str]) -> Iterator[tuple[Path, pa.Array]]:
    """Yield the arrays of doubles in which a number may differ from its text, with their paths."""
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        for path, leaf in leaves(column, (name,)):
            if (pa.types.is_float32(leaf.type) or pa.types.is_float64(leaf.type)) and _is_doubtful(
                leaf, given=name in given
            ):
                yield path, leaf


def _is_doubtful(numbers: pa.Array | pa.ChunkedArray, *, given: bool) -> bool:
    """Return whether a double may differ from its text or, for a given type, whether one became infinite."""
    bounds = pc.min_max(numbers)
    least, most = bounds["min"].as_py(), bounds["max"].as_py()
    if least is None:
        return False
    limit = math.inf if given else WHOLE_MAX
    return bool(least <= -limit or most >= limit)


def rounded(numbers: pa.Array) -> int | None:
    """Return the first of these integers that no double represents, or None."""
    bounds = pc.min_max(numbers)
    least, most = bounds["min"].as_py(), bounds["max"].as_py()
    if least is None or (least >= -WHOLE_MAX and most <= WHOLE_MAX):
        return None
    values = numbers.drop_null().to_numpy(zero_copy_only=False)
    # A double represents an integer that is at most 2^53 without its trailing zero bits. The smallest 64-bit integer
    # is handled as well: its absolute value wraps around and is 2^63 as uint64.
    sizes = np.abs(values).astype(np.uint64)
    lowest = np.maximum(sizes & (~sizes + np.uint64(1)), np.uint64(1))
    changed = np.flatnonzero(sizes // lowest > np.uint64(WHOLE_MAX))
    return int(values[changed[0]]) if len(changed) else None


def changed_row(texts: pa.Array, numbers: pa.Array, *, given: bool) -> int | None:
    """Return the row of the first text whose number differs from the one parsed from it, or None."""
    return next(changed_rows(texts, numbers, given=given), None)


def changed_rows(texts: pa.Array, numbers: pa.Array, *, given: bool) -> Iterator[int]:
    """Yield the rows of the texts whose number differs from the one parsed from it."""
    sizes = pc.abs(numbers.cast(pa.float64(), safe=False))
    # Most large doubles are written with a decimal point, and the search for a point is fast.
    may_be = pc.or_(pc.is_inf(sizes), pc.invert(pc.match_substring(texts, ".")))
    large = pc.and_(pc.greater_equal(sizes, float(WHOLE_MAX)), may_be)
    rows = np.flatnonzero(pc.fill_null(large, False).to_numpy(zero_copy_only=False))
    is_whole = pc.match_substring_regex(texts.take(rows), r"^\s*[+-]?\d+\s*$")
    is_changed = pc.or_(pc.is_inf(sizes.take(rows)), is_whole).to_numpy(zero_copy_only=False)
    for row in rows[is_changed.astype(bool)].tolist():
        if _changes(_number(texts[row].as_py()), numbers.type, given=given):
            yield int(row)


def numbers_at(line: bytes, path: Path) -> Iterator[Decimal]:
    """Yield the numbers at a path of a JSON line, exactly."""
    row = json.loads(line, parse_int=Decimal, parse_float=Decimal)
    yield from (value for value in _values(row, path) if isinstance(value, Decimal))


def _values(value: Any, path: Path) -> Iterator[Any]:
    if not path:
        yield value
    elif path[0] is None:
        for element in value if isinstance(value, list) else ():
            yield from _values(element, path[1:])
    elif isinstance(value, dict) and path[0] in value:
        yield from _values(value[path[0]], path[1:])


def changed_line(lines: Iterable[bytes], path: Path, kind: pa.DataType, *, given: bool) -> tuple[int, Decimal] | None:
    """Return the index of the first JSON line with a number at ``path`` that ``kind`` changes, and that number.

    Returns None where no number changes.
    """
    return next(changed_lines(lines, path, kind, given=given), None)


def changed_lines(
    lines: Iterable[bytes], path: Path, kind: pa.DataType, *, given: bool
) -> Iterator[tuple[int, Decimal]]:
    """Yield the index of each JSON line with a number at ``path`` that ``kind`` changes, and the first such number."""
    for row, line in enumerate(lines):
        if given or _WHOLE.search(line):
            changed = (value for value in numbers_at(line, path) if _changes(value, kind, given=given))
            if (value := next(changed, None)) is not None:
                yield row, value


def change_reason(value: str, kind: pa.DataType) -> str:
    """Return the reason for which a number does not fit: ``kind`` does not represent it."""
    return (
        f"{shortened(value)} is beyond {kind}"
        if pa.types.is_float32(kind)
        else f"{shortened(value)} changes as a double"
    )


def _number(text: str) -> Decimal | None:
    try:
        return Decimal(text.strip().replace(",", "."))
    except InvalidOperation:
        return None


def _changes(number: Decimal | None, kind: pa.DataType, *, given: bool) -> bool:
    """Return whether ``kind`` changes a number.

    Either it becomes infinite or, where no type is given, it is a whole number written without an exponent that a
    double does not represent.
    """
    if number is None or not number.is_finite():
        return False
    double = float(number)
    if math.isinf(pa.scalar(double, kind).as_py() if pa.types.is_floating(kind) else double):
        return True
    return not given and number.as_tuple().exponent == 0 and Decimal(double) != number


def refusal(file: str, line: int, column: str, value: str, kind: pa.DataType, values: Iterable[str]) -> SourceTypeError:
    """Return the error for a number that ``kind`` does not represent; ``values`` are others of the same column."""
    types = ["string"]
    if pa.types.is_float32(kind):
        problem, types = f"which is beyond {kind}", ["float64", *types]
    else:
        problem = "which a double cannot represent, and its column becomes one of doubles"
        types += [str(decimal) for decimal in _decimals(values)]
    return SourceTypeError(
        f"{file}, line {line}: column {column!r} has {shortened(value)}, {problem}",
        hint=f"keep every digit with {' or '.join(column_type_option(column, type_) for type_ in types)}",
        file=file,
        line=line,
        column=column,
        expected=str(kind),
    )


def _decimals(values: Iterable[str]) -> Iterator[str]:
    """Yield the spelling of the decimal type of 38 digits that holds these numbers, if there is one."""
    digits = scale = 0
    for text in values:
        number = _number(text)
        if number is None or not number.is_finite():
            return
        scale = max(scale, -int(number.as_tuple().exponent))
        digits = max(digits, number.adjusted() + 1)
    if digits and digits + scale <= _DIGITS_MAX:
        yield f"decimal128({_DIGITS_MAX},{scale})"
