"""Columns of a CSV whose type follows from the user's options: dates in given formats, booleans in given texts."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as compute
import pyarrow.csv as pc

from millrace.display import shortened
from millrace.names import column_type_option
from millrace.sources.csv.block_errors import BlockErrors
from millrace.sources.csv.parser import CsvParser
from millrace.sources.date_formats import DateFormats
from millrace.sources.options import SourceOptions
from millrace.sources.text.blocks import Block
from millrace.sources.warnings import SourceWarning

_NUMBER = r"^[+-]?\d+(\.\d+)?$"


def types_by_options(
    blocks: Iterable[Block],
    parser: CsvParser,
    errors: BlockErrors,
    names: list[str],
    options: SourceOptions,
) -> tuple[dict[str, pa.DataType], list[SourceWarning]]:
    """Return the types of those columns of which every value in ``blocks`` fits a given date format or truth text.

    A warning names each of them that contains only numbers, and each column that is not a date because of one value.
    If a block does not parse, both results are empty, and the inference of types that follows raises the error.
    """
    if not (options.date_format or options.true_value or options.false_value):
        return {}, []
    dates, truth = DateFormats(options.date_format), _Truth(options)
    candidates: dict[str, pa.DataType] = {}
    left, numbers, warnings = dict.fromkeys(names), set(names), []
    for block in blocks:
        try:
            batch = parser.texts(block, list(left))
        except pa.ArrowInvalid:
            return {}, []
        for name in list(left):
            texts = batch.column(name).drop_null()
            if not len(texts):
                continue
            if name in numbers and not compute.all(compute.match_substring_regex(texts, _NUMBER)).as_py():
                numbers.discard(name)
            kind = dates.type_of(texts) or truth.type_of(texts)
            if kind is None or candidates.setdefault(name, kind) != kind:
                del left[name]
                row = dates.first_unlike(batch.column(name))
                if row is not None:
                    file, line = errors.location(block, row)
                    warnings.append(_no_date(name, batch.column(name)[row].as_py(), file, line))
        if not left:
            break
    types = {name: kind for name, kind in candidates.items() if name in left}
    return types, [*(_warning(name, kind) for name, kind in types.items() if name in numbers), *warnings]


def _no_date(column: str, value: str, file: str, line: int) -> SourceWarning:
    text = repr(shortened(value))
    message = f"{file}, line {line}: column {column!r} is not read as dates: {text} does not have the --date-format"
    return SourceWarning("no_date", message, column=column, line=line, file=file)


def _warning(column: str, kind: pa.DataType) -> SourceWarning:
    option = "--true-value and --false-value" if pa.types.is_boolean(kind) else "--date-format"
    otherwise = column_type_option(column, "int64")
    message = f"column {column!r} has numbers, which {option} make {kind}: give {otherwise} to keep them as numbers"
    return SourceWarning("numbers_taken", message, column=column)


class _Truth:
    """The texts that mean true and false, if the user gave any."""

    def __init__(self, options: SourceOptions) -> None:
        default = pc.ConvertOptions()
        self._given = pa.array([*options.true_value, *options.false_value], pa.string())
        every = [*(options.true_value or default.true_values), *(options.false_value or default.false_values)]
        self._every = pa.array(every, pa.string())

    def type_of(self, texts: pa.Array) -> pa.DataType | None:
        """Return bool if every text means true or false and at least one is a given text, else None."""
        if not len(self._given) or not compute.all(compute.is_in(texts, value_set=self._every)).as_py():
            return None
        return pa.bool_() if compute.any(compute.is_in(texts, value_set=self._given)).as_py() else None
