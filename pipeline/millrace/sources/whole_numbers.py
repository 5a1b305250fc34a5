"""Numbers of a text that doubles would change: found before a column is loaded as doubles.

A double holds every whole number up to 2^53 and some beyond: two different ids may become one double. A number that is
written with a fraction or an exponent is rounded to the nearest double, as every reader does, but none to infinity.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Container, Iterable, Iterator
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from millrace.column_names import column_type_option
from millrace.errors import SourceTypeError

__all__ = [
    "WHOLE_MAX",
    "Path",
    "WholeNumbers",
    "changed_line",
    "changed_row",
    "leaves",
    "numbers_at",
    "refusal",
    "rounded",
]

Path = tuple[str | None, ...]
"""Where values stand: the column, then the fields of structs, None for the elements of a list."""
Find = Callable[[Path, pa.Array], SourceTypeError | None]

WHOLE_MAX: Final = 2**53
"""Up to here a double holds every whole number."""
_WHOLE: Final = re.compile(rb"(?<![\d.])\d{16,}(?![\d.eE])")
_NUMBERS: Final = (pa.int64(), pa.float32(), pa.float64())
_SHOWN_MAX: Final = 40
_DIGITS_MAX: Final = 38


class WholeNumbers:
    """Checks the batches of one reader, in their order; columns that are ``given`` a type may be rounded."""

    def __init__(self, given: Container[str]) -> None:
        self._given = given
        self._noted: dict[Path, SourceTypeError] = {}

    def with_doubt(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, bool]:
        """Return the batch, and whether a number of it is so large that doubles may change it.

        The parsing threads call this: in the thread that reads, it made a load of 19 columns an eighth slower. All
        columns of a type are looked at together, because each call waits for the interpreter.
        """
        numbers: dict[tuple[pa.DataType, bool], list[pa.Array]] = {}
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            for _, leaf in leaves(column, (name,)):
                if leaf.type in _NUMBERS:
                    numbers.setdefault((leaf.type, name in self._given), []).append(leaf)
        groups = ((pa.chunked_array(arrays, kind), given) for (kind, given), arrays in numbers.items())
        return batch, any(_is_doubtful(group, given=given) for group, given in groups)

    def check(self, batch: pa.RecordBatch, doubt: bool, find: Find) -> None:
        """Raise the ``SourceTypeError`` that ``find`` gives for doubles which are not the numbers of the text.

        ``find(path, values)`` looks at the text. Integers that no double holds are looked for as well: the error is
        kept, and raised when their column becomes doubles in a later batch.
        """
        if not doubt and not self._noted:
            return
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            given = name in self._given
            for path, leaf in leaves(column, (name,)):
                if pa.types.is_float32(leaf.type) or pa.types.is_float64(leaf.type):
                    if path in self._noted:
                        raise self._noted[path]
                    if _is_doubtful(leaf, given=given) and (error := find(path, leaf)):
                        raise error
                elif (
                    pa.types.is_int64(leaf.type)
                    and not given
                    and path not in self._noted
                    and rounded(leaf) is not None
                    and (error := find(path, leaf))
                ):
                    self._noted[path] = error


def leaves(array: Any, path: Path) -> Iterator[tuple[Path, pa.Array]]:
    """The arrays of plain values within an array, each with its path below ``path``."""
    if pa.types.is_struct(array.type):
        for field, child in zip(array.type, array.flatten(), strict=True):
            yield from leaves(child, (*path, field.name))
    elif pa.types.is_list(array.type) or pa.types.is_large_list(array.type) or pa.types.is_fixed_size_list(array.type):
        yield from leaves(array.flatten(), (*path, None))
    else:
        yield path, array


def _is_doubtful(numbers: pa.Array | pa.ChunkedArray, *, given: bool) -> bool:
    """Whether the text may say another number; where the type was given, whether one may be beyond it."""
    bounds = pc.min_max(numbers)
    least, most = bounds["min"].as_py(), bounds["max"].as_py()
    if least is None:
        return False
    limit = math.inf if given else WHOLE_MAX
    return bool(least <= -limit or most >= limit)


def rounded(numbers: pa.Array) -> int | None:
    """The first of these integers that no double holds; None where doubles hold all of them."""
    import numpy as np

    bounds = pc.min_max(numbers)
    least, most = bounds["min"].as_py(), bounds["max"].as_py()
    if least is None or (least >= -WHOLE_MAX and most <= WHOLE_MAX):
        return None
    values = numbers.drop_null().to_numpy(zero_copy_only=False)
    # A double holds what is below 2^53 without its trailing zero bits. The least integer of 64 bits is 2^63 so too.
    sizes = np.abs(values).astype(np.uint64)
    lowest = np.maximum(sizes & (~sizes + np.uint64(1)), np.uint64(1))
    found = np.flatnonzero(sizes // lowest > np.uint64(WHOLE_MAX))
    return int(values[found[0]]) if len(found) else None


def changed_row(texts: pa.Array, numbers: pa.Array, *, given: bool) -> int | None:
    """The row of the first of these texts that says another number than the one that was made of it."""
    import numpy as np

    sizes = pc.abs(numbers.cast(pa.float64(), safe=False))
    # Most large doubles are written with a point, and finding one is fast.
    may_be = pc.or_(pc.is_inf(sizes), pc.invert(pc.match_substring(texts, ".")))
    large = pc.and_(pc.greater_equal(sizes, float(WHOLE_MAX)), may_be)
    rows = np.flatnonzero(pc.fill_null(large, False).to_numpy(zero_copy_only=False))
    is_whole = pc.match_substring_regex(texts.take(rows), r"^\s*[+-]?\d+\s*$")
    whole = pc.or_(pc.is_inf(sizes.take(rows)), is_whole).to_numpy(zero_copy_only=False)
    for row in rows[whole.astype(bool)].tolist():
        if _changes(_number(texts[row].as_py()), numbers.type, given=given):
            return int(row)
    return None


def numbers_at(line: bytes, path: Path) -> Iterator[Decimal]:
    """The numbers at a path of a JSON line."""
    row = json.loads(line, parse_int=Decimal, parse_float=Decimal)
    yield from (value for value in _values(row, path) if isinstance(value, Decimal))


def _values(value: Any, path: Path) -> Iterator[Any]:
    if not path:
        yield value
    elif path[0] is None:
        for each in value if isinstance(value, list) else ():
            yield from _values(each, path[1:])
    elif isinstance(value, dict) and path[0] in value:
        yield from _values(value[path[0]], path[1:])


def changed_line(lines: Iterable[bytes], path: Path, kind: pa.DataType, *, given: bool) -> tuple[int, Decimal] | None:
    """The number of the first of these JSON lines that says another number at a path, and that number."""
    for row, line in enumerate(lines):
        if given or _WHOLE.search(line):
            for value in numbers_at(line, path):
                if _changes(value, kind, given=given):
                    return row, value
    return None


def _number(text: str) -> Decimal | None:
    try:
        return Decimal(text.strip().replace(",", "."))
    except InvalidOperation:
        return None


def _changes(number: Decimal | None, kind: pa.DataType, *, given: bool) -> bool:
    """Whether a number is beyond ``kind``, or a whole one without an exponent that a double does not hold."""
    if number is None or not number.is_finite():
        return False
    double = float(number)
    if math.isinf(pa.scalar(double, kind).as_py() if pa.types.is_floating(kind) else double):
        return True
    return not given and number.as_tuple().exponent == 0 and Decimal(double) != number


def refusal(file: str, line: int, column: str, value: str, kind: pa.DataType, values: Iterable[str]) -> SourceTypeError:
    """The error for a number of a column that ``kind`` does not hold; ``values`` are others of the same column."""
    shown = value if len(value) <= _SHOWN_MAX else value[:_SHOWN_MAX] + "..."
    types = ["string"]
    if pa.types.is_float32(kind):
        said, types = f"which is beyond {kind}", ["float64", *types]
    else:
        said = "which no double holds, and its column becomes one of doubles"
        types += [str(decimal) for decimal in _decimals(values)]
    return SourceTypeError(
        f"{file}, line {line}: column {column!r} has {shown}, {said}",
        hint=f"keep every digit with {' or '.join(column_type_option(column, type_) for type_ in types)}",
        file=file,
        line=line,
        column=column,
        expected=str(kind),
    )


def _decimals(values: Iterable[str]) -> Iterator[str]:
    """The decimal type of 38 digits that holds these numbers, if there is one."""
    whole = scale = 0
    for text in values:
        number = _number(text)
        if number is None or not number.is_finite():
            return
        scale = max(scale, -int(number.as_tuple().exponent))
        whole = max(whole, number.adjusted() + 1)
    if whole and whole + scale <= _DIGITS_MAX:
        yield f"decimal128({_DIGITS_MAX},{scale})"
