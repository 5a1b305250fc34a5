"""The options of a source, and the checks of their values."""

from __future__ import annotations

import re
import string
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from types import NoneType
from typing import Any, Final

from millrace.errors import InvalidSettingError, UsageError
from millrace.names import first_duplicate, nearest

FORMAT_NAMES: Final[dict[str, object]] = dict.fromkeys(("parquet", "arrow", "jsonl", "json", "csv", "bytes"))
"""The names of the formats in the order of their detection; ``formats`` adds the formats, which depend on the options.

This module is imported without pyarrow, so that declared sources are checked quickly.
"""

_MAX_UNIT_BYTES: Final = 1_000_000_000
"""Arrow's 32-bit offsets end at 2 GiB, and a unit is about twice in memory while it is parsed."""
AUTO: Final = "auto"
"""The delimiter value that means detection from the first lines."""

_TYPES: Final = (
    ("format", (str, NoneType), "a text"),
    ("connection", (str, NoneType), "the name of a connection"),
    ("schema_file", (str, NoneType), "the name of a file"),
    ("records", (str, NoneType), "the keys of an array, as in data.items"),
    ("delimiter", (str, NoneType), "one character"),
    ("encoding", (str, NoneType), "a text"),
    ("header", bool, "True or False"),
)
_DOTS: Final = re.compile(r"(?<!\\)\.")
_DECIMALS: Final = "".join(sorted(set(string.punctuation) - set("\"'+-")))


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """Options that define how a source is read; the constructor raises ``InvalidSettingError`` for a wrong value.

    * ``format``: one of ``FORMAT_NAMES``. None means detection by the file's name, then by its content.
    * ``connection``: the name of the connection with the credentials for remote addresses. Local paths ignore it.
    * ``null_values``: CSV only. They replace pyarrow's default spellings of null and apply to every column, including
      text.
    * ``column_types``: pairs of column and Arrow type spelling (``types.parse_type``), CSV, JSON lines and JSON only.
    * ``schema_file``: types by column from an Arrow or Parquet file, or from JSON ``{"column": "type"}``.
    * ``decimal``, ``date_format``, ``true_value``, ``false_value``: CSV only. The spelling of numbers, dates, times and
      booleans (``date_formats``).
    * ``skip_rows``: CSV only. The number of lines before the header of each file.
    * ``records``: JSON documents only. The keys of the array in the document, as in ``data.items``; in a key ``\\.`` is
      a dot. None means that the document is the array.
    * ``columns``: only these columns, in this order. ``rename``: pairs of old and new name. Both apply to every table
      format. ``columns`` and ``column_types`` use the source's own column names.
    * ``delimiter``, ``encoding``: None where not given. A plan has the effective ones (``,``, or a tab for ``.tsv``;
      ``utf-8``). ``delimiter`` may be ``auto``. If neither its name nor ``format`` determines the format of a text
      file, it is read as a CSV if ``delimiter`` or ``encoding`` is given or ``header`` is False.
    * ``infer_bytes``: the number of bytes of a CSV or JSON source that are parsed to infer its types.
    * ``max_unit_bytes``: the largest record, line, JSON document, row group or record batch read at once, in bytes.
    * ``split_bytes``, ``max_splits``: the size in bytes and the number of parts that can be read alone.
    * ``piece_bytes``: the largest number of bytes of a file in one row of a bytes source.
    """

    format: str | None = None
    null_values: tuple[str, ...] | None = None
    column_types: tuple[tuple[str, str], ...] = ()
    schema_file: str | None = None
    delimiter: str | None = None
    encoding: str | None = None
    header: bool = True
    decimal: str = "."
    date_format: tuple[str, ...] = ()
    true_value: tuple[str, ...] = ()
    false_value: tuple[str, ...] = ()
    skip_rows: int = 0
    records: str | None = None
    columns: tuple[str, ...] | None = None
    rename: tuple[tuple[str, str], ...] = ()
    infer_bytes: int = 64_000_000
    max_unit_bytes: int = 64_000_000
    split_bytes: int = 16_000_000
    max_splits: int = 64
    piece_bytes: int = 1_000_000
    connection: str | None = None

    def __post_init__(self) -> None:
        _check_types(self)
        if self.format is not None and self.format not in FORMAT_NAMES:
            names = ", ".join(FORMAT_NAMES)
            raise InvalidSettingError(f"unknown source format {self.format!r}", hint=f"use one of {names}")
        delimiter = "," if self.delimiter is None else self.delimiter
        if delimiter != AUTO and (len(delimiter) != 1 or not delimiter.isascii() or delimiter in '"\r\n\0'):
            raise InvalidSettingError(
                f"the delimiter is {self.delimiter!r}",
                hint="give one ASCII character that is neither a quote nor a line end, or auto",
            )
        for name, low, high in (
            ("skip_rows", 0, None),
            ("infer_bytes", 1, None),
            ("max_unit_bytes", 1, _MAX_UNIT_BYTES),
            ("split_bytes", 1, None),
            ("max_splits", 1, 1000),
            ("piece_bytes", 1, 4_000_000),
        ):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < low or (high and value > high):
                allowed = f"at least {low}" if high is None else f"{low} to {high}"
                raise InvalidSettingError(f"{name} is {value!r}", hint=f"give a whole number, {allowed}")
        _check_table_options(self)

    def changed(self) -> frozenset[str]:
        """Return the names of the options that do not have their default value."""
        return frozenset(field.name for field in fields(self) if getattr(self, field.name) != field.default)

    def with_fields(self, given: dict[str, Any]) -> SourceOptions:
        """Return the options with these fields replaced.

        Raises ``UsageError`` for an unknown name, with the nearest known one in its hint.
        """
        names = [field.name for field in fields(self)]
        if unknown := [name for name in given if name not in names]:
            near = nearest(unknown[0], names, at_most=1)
            hint = f"did you mean {near[0]}?" if near else f"use one of {', '.join(names)}"
            raise UsageError(f"there is no option {unknown[0]!r} of a source", hint=hint)
        return replace(self, **given)

    def to_json(self) -> dict[str, Any]:
        """Return all options as JSON values; ``from_json`` restores an equal object."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> SourceOptions:
        """Return the options from the values of ``to_json``; raises ``InvalidSettingError`` for an unknown name."""
        unknown = sorted(set(values) - {field.name for field in fields(cls)})
        if unknown:
            raise InvalidSettingError(f"unknown source option {unknown[0]!r}")
        return cls(**values)


def _check_types(options: SourceOptions) -> None:
    """Convert lists of texts and of pairs to tuples, in place; raises ``InvalidSettingError`` for another type."""
    for name, kind, description in _TYPES:
        value = getattr(options, name)
        if not isinstance(value, kind):
            raise InvalidSettingError(f"{name} is {value!r}", hint=f"give {description}")
    for name in ("date_format", "true_value", "false_value"):
        _set(options, name, _texts(name, getattr(options, name)))
    for name in ("null_values", "columns"):
        if getattr(options, name) is not None:
            _set(options, name, _texts(name, getattr(options, name), one=False))
    _set(options, "column_types", _pairs("column_types", options.column_types, "{'delay': 'int64'}"))
    _set(options, "rename", _pairs("rename", options.rename, "{'dep': 'departure'}"))


def _check_table_options(options: SourceOptions) -> None:
    """Raise ``InvalidSettingError`` for an option that is outside its range or contradicts another one."""
    if options.date_format:
        from millrace.sources.date_formats import DateFormats

        DateFormats(options.date_format)
    if not all(record_keys(options.records)):
        raise InvalidSettingError(
            f"records is {options.records!r}", hint="give keys with one dot between two of them, as in data.items"
        )
    columns = options.columns
    if columns is not None and (not columns or len(set(columns)) < len(columns)):
        raise InvalidSettingError("columns are given twice, or none is", hint="give each column once")
    if old := first_duplicate(old for old, _ in options.rename):
        raise InvalidSettingError(f"rename names {old!r} twice", hint="give each column one new name")
    if new := first_duplicate(new for _, new in options.rename):
        raise InvalidSettingError(f"rename gives two columns the name {new!r}", hint="give them different names")
    if not isinstance(options.decimal, str) or len(options.decimal) != 1 or options.decimal not in _DECIMALS:
        raise InvalidSettingError(
            f"the decimal point is {options.decimal!r}", hint="give one ASCII punctuation character, as in --decimal ,"
        )
    _check_truth(options)


def record_keys(records: str | None) -> tuple[str, ...]:
    """Return the keys of the option ``records``, from the outer object to the array."""
    if records is None:
        return ()
    return tuple(key.replace("\\.", ".") for key in _DOTS.split(records))


def _set(options: SourceOptions, name: str, value: Any) -> None:
    object.__setattr__(options, name, value)


def _texts(name: str, value: Any, *, one: bool = True) -> tuple[str, ...]:
    if one and isinstance(value, str):
        return (value,)
    if isinstance(value, (list, tuple)) and all(isinstance(text, str) for text in value):
        return tuple(value)
    raise InvalidSettingError(f"{name} is {value!r}", hint="give a list of texts")


def _pairs(name: str, value: Any, example: str) -> tuple[tuple[str, str], ...]:
    given = list(value.items()) if isinstance(value, Mapping) else value
    if not isinstance(given, (list, tuple)) or not all(_is_pair(pair) for pair in given):
        raise InvalidSettingError(f"{name} is {value!r}", hint=f"give names with a text for each, as in {example}")
    return tuple((first, second) for first, second in given)


def _is_pair(value: Any) -> bool:
    return (
        isinstance(value, (list, tuple)) and len(value) == 2 and all(isinstance(text, str) and text for text in value)
    )


def _check_truth(options: SourceOptions) -> None:
    if not (options.true_value or options.false_value):
        return
    import pyarrow.csv as pc

    default = pc.ConvertOptions()
    true, false = set(options.true_value or default.true_values), set(options.false_value or default.false_values)
    if both := sorted(true & false):
        raise InvalidSettingError(
            f"true_value and false_value both have {both[0]!r}", hint="give each text one meaning"
        )
    nulls = set(default.null_values if options.null_values is None else options.null_values)
    if both := sorted(nulls & {*options.true_value, *options.false_value}):
        raise InvalidSettingError(
            f"true_value or false_value has {both[0]!r}, which means null",
            hint="give the texts that mean null: --null-value",
        )
