"""Options for the spelling of CSV values and the selection of columns: their checks, and the formats they apply to."""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Iterable, Mapping
from types import NoneType
from typing import TYPE_CHECKING, Any, Final

from millrace.column_names import listed_columns
from millrace.errors import InvalidSettingError, UsageError
from millrace.sources.csv_dates import DateFormats

if TYPE_CHECKING:
    import pyarrow as pa

    from millrace.sources.model import SourceOptions

__all__ = [
    "AUTO",
    "check_table_options",
    "check_types",
    "csv_only",
    "read_columns",
    "refuse_csv_options",
    "refuse_projection",
    "renamed",
]

AUTO: Final = "auto"
"""The delimiter value that means detection from the first lines."""

_CSV_ONLY: Final = ("decimal", "date_format", "true_value", "false_value", "skip_rows")
_TYPES: Final = (
    ("format", (str, NoneType), "a text"),
    ("schema_file", (str, NoneType), "the name of a file"),
    ("delimiter", (str, NoneType), "one character"),
    ("encoding", (str, NoneType), "a text"),
    ("header", bool, "True or False"),
)
_DECIMALS: Final = "".join(sorted(set(string.punctuation) - set("\"'+-")))


def check_types(options: SourceOptions) -> None:
    """Convert lists of texts and of pairs to tuples, in place; raises ``InvalidSettingError`` for another type."""
    for name, kind, what in _TYPES:
        value = getattr(options, name)
        if not isinstance(value, kind):
            raise InvalidSettingError(f"{name} is {value!r}", hint=f"give {what}")
    for name in ("date_format", "true_value", "false_value"):
        _set(options, name, _texts(name, getattr(options, name)))
    for name in ("null_values", "columns"):
        if getattr(options, name) is not None:
            _set(options, name, _texts(name, getattr(options, name), one=False))
    _set(options, "column_types", _pairs("column_types", options.column_types, "{'delay': 'int64'}"))
    _set(options, "rename", _pairs("rename", options.rename, "{'dep': 'departure'}"))


def check_table_options(options: SourceOptions) -> None:
    """Raise ``InvalidSettingError`` for an option that is outside its range or contradicts another one."""
    DateFormats(options.date_format)
    columns = options.columns
    if columns is not None and (not columns or len(set(columns)) < len(columns)):
        raise InvalidSettingError("columns are given twice, or none is", hint="give each column once")
    _check_rename(options)
    skip_rows = options.skip_rows
    if isinstance(skip_rows, bool) or not isinstance(skip_rows, int) or skip_rows < 0:
        raise InvalidSettingError(f"skip_rows is {skip_rows!r}", hint="give a whole number of lines, at least 0")
    if not isinstance(options.decimal, str) or len(options.decimal) != 1 or options.decimal not in _DECIMALS:
        raise InvalidSettingError(
            f"the decimal point is {options.decimal!r}", hint="give one ASCII punctuation character, as in --decimal ,"
        )
    _check_truth(options)


def _set(options: SourceOptions, name: str, value: Any) -> None:
    object.__setattr__(options, name, value)


def _texts(name: str, value: Any, *, one: bool = True) -> tuple[str, ...]:
    if one and isinstance(value, str):
        return (value,)
    if isinstance(value, (list, tuple)) and all(isinstance(each, str) for each in value):
        return tuple(value)
    raise InvalidSettingError(f"{name} is {value!r}", hint="give a list of texts")


def _pairs(name: str, value: Any, example: str) -> tuple[tuple[str, str], ...]:
    given = list(value.items()) if isinstance(value, Mapping) else value
    if not isinstance(given, (list, tuple)) or not all(_is_pair(each) for each in given):
        raise InvalidSettingError(f"{name} is {value!r}", hint=f"give names with a text for each, as in {example}")
    return tuple((first, second) for first, second in given)


def _check_rename(options: SourceOptions) -> None:
    for old, count in Counter(old for old, _ in options.rename).items():
        if count > 1:
            raise InvalidSettingError(f"rename names {old!r} twice", hint="give each column one new name")
    for new, count in Counter(new for _, new in options.rename).items():
        if count > 1:
            raise InvalidSettingError(f"rename gives two columns the name {new!r}", hint="give them different names")


def _is_pair(value: Any) -> bool:
    return (
        isinstance(value, (list, tuple)) and len(value) == 2 and all(isinstance(each, str) and each for each in value)
    )


def _check_truth(options: SourceOptions) -> None:
    import pyarrow.csv as pc

    if not (options.true_value or options.false_value):
        return
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


def csv_only(options: SourceOptions) -> list[str]:
    """Return the names of the given options that only a CSV has."""
    from millrace.sources.model import SourceOptions

    default = SourceOptions()
    given = [name for name in _CSV_ONLY if getattr(options, name) != getattr(default, name)]
    return given + (["delimiter"] if options.delimiter == AUTO else [])


def refuse_csv_options(options: SourceOptions, what: str) -> None:
    """Raise ``UsageError`` when an option that only a CSV has is given for other data."""
    if given := csv_only(options):
        option = "--" + given[0].replace("_", "-")
        raise UsageError(f"{option} says how a CSV is written, and this is {what}", hint=f"leave out {option}")


def refuse_projection(options: SourceOptions, what: str) -> None:
    """Raise ``UsageError`` when columns are selected or renamed in data without columns of its own."""
    for name, given in (("--columns", options.columns is not None), ("--rename", bool(options.rename))):
        if given:
            raise UsageError(f"{what} have no columns to choose or rename", hint=f"leave out {name}")


def read_columns(options: SourceOptions, names: Iterable[str], where: str) -> tuple[str, ...]:
    """Return the columns to be read, in the order of ``--columns``; ``names`` are those that ``where`` has.

    Raises ``UsageError`` for a selected or renamed column that does not exist, and for a renamed one not selected.
    """
    every = tuple(names)
    has = set(every)
    for option, asked in (("--columns", options.columns or ()), ("--rename", [old for old, _ in options.rename])):
        if missing := next((name for name in asked if name not in has), None):
            raise UsageError(
                f"{where} has no column {missing!r}, which {option} names",
                hint=f"its columns are {listed_columns(every)}",
                column=missing,
            )
    chosen = every if options.columns is None else options.columns
    if unread := next((old for old, _ in options.rename if old not in chosen), None):
        raise UsageError(f"--rename names {unread!r}, which --columns leaves out", hint="name it in both, or in none")
    return chosen


def renamed(options: SourceOptions, schema: pa.Schema) -> pa.Schema:
    """Return the schema with the new names; raises ``UsageError`` when two columns would have the same name."""
    if not options.rename:
        return schema
    import pyarrow as pa

    new = dict(options.rename)
    fields = [field.with_name(new.get(field.name, field.name)) for field in schema]
    for name, count in Counter(field.name for field in fields).items():
        if count > 1:
            raise UsageError(
                f"--rename gives two columns the name {name!r}", hint="rename the other one too, or leave it out"
            )
    # pandas metadata describes the columns by their old names.
    metadata = {key: value for key, value in (schema.metadata or {}).items() if key != b"pandas"}
    return pa.schema(fields, metadata=metadata or None)
