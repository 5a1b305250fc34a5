"""Columns of a CSV whose type follows from the user's options: dates in given formats, booleans in given texts."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as compute
import pyarrow.csv as pc

from millrace.names import column_type_option
from millrace.sources.csv.parser import CsvParser
from millrace.sources.date_formats import DateFormats
from millrace.sources.model import SourceFile
from millrace.sources.options import SourceOptions
from millrace.sources.text.blocks import Block
from millrace.sources.warnings import SourceWarning

__all__ = ["said_types"]

_SHOWN_MAX = 40
_NUMBER = r"^[+-]?\d+(\.\d+)?$"


def said_types(
    blocks: Iterable[tuple[Block, tuple[str, ...]]],
    parser: CsvParser,
    names: list[str],
    options: SourceOptions,
    files: tuple[SourceFile, ...],
) -> tuple[dict[str, pa.DataType], list[SourceWarning]]:
    """Return the types of those columns of which every value in ``blocks`` fits a given date format or truth text.

    A warning names each of them that contains only numbers, and each column that is not a date because of one value.
    If a block does not parse, both results are empty, and the inference of types that follows raises the error.
    """
    if not (options.date_format or options.true_value or options.false_value):
        return {}, []
    dates, truth = DateFormats(options.date_format), _Truth(options)
    found: dict[str, pa.DataType] = {}
    left, numbers, warnings = dict.fromkeys(names), set(names), []
    for block, order in blocks:
        try:
            batch = parser.texts(block.data, order, list(left))
        except pa.ArrowInvalid:
            return {}, []
        for name in list(left):
            texts = batch.column(name).drop_null()
            if not len(texts):
                continue
            if name in numbers and not compute.all(compute.match_substring_regex(texts, _NUMBER)).as_py():
                numbers.discard(name)
            kind = dates.type_of(texts) or truth.type_of(texts)
            if kind is None or found.setdefault(name, kind) != kind:
                del left[name]
                row = dates.unfit(batch.column(name))
                if row is not None:
                    line, _ = parser.locate(block, row, 1)
                    warnings.append(_no_date(name, batch.column(name)[row].as_py(), files[block.file].name, line))
        if not left:
            break
    types = {name: kind for name, kind in found.items() if name in left}
    return types, [*(_warning(name, kind) for name, kind in types.items() if name in numbers), *warnings]


def _no_date(column: str, value: str, file: str, line: int) -> SourceWarning:
    shown = repr(value if len(value) <= _SHOWN_MAX else value[:_SHOWN_MAX] + "...")
    said = f"{file}, line {line}: column {column!r} holds no dates: {shown} is none in the --date-format"
    return SourceWarning("no_date", said, column=column, line=line, file=file)


def _warning(column: str, kind: pa.DataType) -> SourceWarning:
    option = "--true-value and --false-value" if pa.types.is_boolean(kind) else "--date-format"
    otherwise = column_type_option(column, "int64")
    said = f"column {column!r} holds numbers, which {option} make {kind}: give {otherwise} otherwise"
    return SourceWarning("numbers_taken", said, column=column)


class _Truth:
    """The texts that mean true and false, if the user gave any."""

    def __init__(self, options: SourceOptions) -> None:
        default = pc.ConvertOptions()
        self._said = pa.array([*options.true_value, *options.false_value], pa.string())
        every = [*(options.true_value or default.true_values), *(options.false_value or default.false_values)]
        self._every = pa.array(every, pa.string())

    def type_of(self, texts: pa.Array) -> pa.DataType | None:
        """Return bool if every text means true or false and at least one is a given text, else None."""
        if not len(self._said) or not compute.all(compute.is_in(texts, value_set=self._every)).as_py():
            return None
        return pa.bool_() if compute.any(compute.is_in(texts, value_set=self._said)).as_py() else None
