"""Parsing of Arrow types from text, types given by options or a schema file, and merging of schemas."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from millrace.arrow import wider_type, widest_type
from millrace.errors import SourceNotFoundError, SourceTypeError, SourceUnreadableError, UsageError
from millrace.names import column_type_option
from millrace.sources.io.address import local_path
from millrace.sources.options import SourceOptions

_SIMPLE: dict[str, pa.DataType] = {
    "null": pa.null(),
    "bool": pa.bool_(),
    "int8": pa.int8(),
    "int16": pa.int16(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "uint8": pa.uint8(),
    "uint16": pa.uint16(),
    "uint32": pa.uint32(),
    "uint64": pa.uint64(),
    "float16": pa.float16(),
    "halffloat": pa.float16(),
    "float32": pa.float32(),
    "float": pa.float32(),
    "float64": pa.float64(),
    "double": pa.float64(),
    "string": pa.string(),
    "large_string": pa.large_string(),
    "binary": pa.binary(),
    "large_binary": pa.large_binary(),
    "date32": pa.date32(),
    "date32[day]": pa.date32(),
    "date64": pa.date64(),
    "date64[ms]": pa.date64(),
    "time32[s]": pa.time32("s"),
    "time32[ms]": pa.time32("ms"),
    "time64[us]": pa.time64("us"),
    "time64[ns]": pa.time64("ns"),
    **{f"timestamp[{unit}]": pa.timestamp(unit) for unit in ("s", "ms", "us", "ns")},
    **{f"duration[{unit}]": pa.duration(unit) for unit in ("s", "ms", "us", "ns")},
    "dictionary": pa.dictionary(pa.int32(), pa.string()),
}
_ZONED = re.compile(r"timestamp\[(s|ms|us|ns),\s*(?:tz=)?([A-Za-z0-9_+:/-]+)\]")
_DECIMAL = re.compile(r"decimal(128|256)\((\d+),\s*(-?\d+)\)")
_FIXED = re.compile(r"(?:fixed_size_binary|binary)[(\[](\d+)[)\]]")
_LIST = re.compile(r"list<(?:item:\s*)?(.+)>")
_SPELLINGS = (
    "int64, float64, bool, string, binary, date32, time32[s], timestamp[s], timestamp[us, tz=UTC], "
    "decimal128(10,2), dictionary, list<int64>, ..."
)


def parse_type(spelling: str) -> pa.DataType:
    """Parse the spelling of an Arrow type; ``str(type)`` is accepted for all types named here.

    Signed and unsigned integers (``int8`` ... ``uint64``), ``float16`` / ``float32`` / ``float64`` (``float``
    and ``double`` as Arrow prints them), ``bool``, ``null``, ``string``, ``large_string``, ``binary``,
    ``large_binary``, ``fixed_size_binary(16)``, ``date32``, ``date64``, ``time32[s|ms]``, ``time64[us|ns]``,
    ``timestamp[s|ms|us|ns]``, ``timestamp[us, tz=Europe/Berlin]``, ``duration[s|ms|us|ns]``,
    ``decimal128(10,2)``, ``decimal256(40,2)``, ``dictionary`` (text), ``list<T>``. Raises ``UsageError``.
    """
    text = spelling.strip()
    simple = _SIMPLE.get(text.lower())
    if simple is not None:
        return simple
    try:
        if match := _ZONED.fullmatch(text):
            return pa.timestamp(match[1], tz=match[2])
        if match := _DECIMAL.fullmatch(text.lower()):
            make = pa.decimal128 if match[1] == "128" else pa.decimal256
            return make(int(match[2]), int(match[3]))
        if match := _FIXED.fullmatch(text.lower()):
            return pa.binary(int(match[1]))
        if match := _LIST.fullmatch(text):
            return pa.list_(parse_type(match[1]))
    except (ValueError, pa.ArrowInvalid) as error:
        raise UsageError(f"{spelling!r} is not a possible type: {error}") from error
    raise UsageError(f"unknown column type {spelling!r}", hint=f"use an Arrow type: {_SPELLINGS}")


def parse_column_type(text: str) -> tuple[str, str]:
    """Return column and type spelling of ``COLUMN=TYPE``. The name ends at the first ``=`` that a valid type follows.

    Both may contain ``=``: the column of ``seen=timestamp[us, tz=UTC]`` is ``seen``, that of ``a=b=string`` is
    ``a=b``. Blanks belong to the name. Raises ``UsageError`` where no type follows any ``=``, and for an empty name.
    """
    positions = [position for position, letter in enumerate(text) if letter == "=" and position]
    for position in positions:
        spelling = text[position + 1 :].strip()
        try:
            parse_type(spelling)
        except UsageError:
            if spelling and len(positions) == 1:
                raise
            continue
        return text[:position], spelling
    raise UsageError(f"{text!r} is not COLUMN=TYPE", hint=f"write it as in delay=int64; types are {_SPELLINGS}")


def load_schema_file(name: str) -> pa.Schema:
    """Return the schema of a file: Arrow (schema message, stream or file), Parquet, or JSON ``{"column": "type"}``.

    Raises ``SourceNotFoundError``, ``SourceUnreadableError``, or ``UsageError`` when the file has no schema.
    """
    path = Path(local_path(name))
    if not path.exists():
        raise SourceNotFoundError(f"the schema file {name} does not exist")
    if not path.is_file():
        raise SourceUnreadableError(f"the schema file {name} is not a regular file")
    try:
        with path.open("rb") as file:
            magic = file.read(6)
        if magic[:4] == b"PAR1":
            return pq.read_schema(path)
        with pa.OSFile(str(path)) as source:
            if magic == b"ARROW1":
                return pa.ipc.open_file(source).schema
            if magic[:4] == b"\xff\xff\xff\xff":
                return pa.ipc.read_schema(source)
        types = json.loads(path.read_bytes())
        if isinstance(types, dict) and all(isinstance(kind, str) for kind in types.values()):
            return pa.schema([(column, parse_type(kind)) for column, kind in types.items()])
    except OSError as error:
        raise SourceUnreadableError(f"the schema file {name} cannot be read: {error}") from error
    except (pa.ArrowException, ValueError) as error:
        raise UsageError(f"the schema file {name} is not valid: {error}") from error
    raise UsageError(
        f"the schema file {name} has no schema",
        hint='give an Arrow or Parquet file, or JSON like {"column": "int64"}',
    )


def given_types(options: SourceOptions, names: tuple[str, ...] | None) -> dict[str, pa.DataType]:
    """Return the types given by the user: those of the schema file, overridden by ``column_types``.

    Raises ``UsageError`` for a column that is not in ``names``, the source's columns (None: not checked).
    """
    given: dict[str, pa.DataType] = {}
    if options.schema_file:
        schema = load_schema_file(options.schema_file)
        given = {field.name: field.type for field in schema}
    given.update((name, parse_type(kind)) for name, kind in options.column_types)
    if names is not None and (unknown := [name for name in given if name not in names]):
        has = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
        raise UsageError(f"a type is given for column {unknown[0]!r}, which the source does not have; it has {has}")
    return given


def written_columns(options: SourceOptions) -> frozenset[str]:
    """Return the nullable columns of an Arrow or Parquet schema file, such as ``read`` writes for a version.

    In these columns a CSV distinguishes null from empty text, and null from NaN in floats. Returns an empty set for
    JSON and ``--column-type``, which give types and nothing about nulls.
    """
    if not options.schema_file or Path(local_path(options.schema_file)).read_bytes()[:1000].lstrip()[:1] == b"{":
        return frozenset()
    schema = load_schema_file(options.schema_file)
    return frozenset(field.name for field in schema if field.nullable)


def check_names(schema: pa.Schema) -> None:
    """Raise ``UnicodeDecodeError`` when a name is not UTF-8, which pyarrow detects only when the name is accessed.

    Checked are the names of columns, of fields within them, and of time zones.
    """
    for field in schema:
        _check_field(field)


def _check_field(field: pa.Field) -> None:
    str(field.name)
    kind = field.type
    while pa.types.is_dictionary(kind) or isinstance(kind, pa.BaseExtensionType):
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind.storage_type
    if pa.types.is_timestamp(kind):
        str(kind.tz)
    for number in range(kind.num_fields):
        _check_field(kind.field(number))


def merge_schemas(schemas: Iterable[pa.Schema], *, exact: bool = False) -> pa.Schema:
    """Merge schemas into one that has, for each column, the type that all its types widen to.

    Order and metadata are those of the first schema. All schemas must have the same columns; their order may differ.
    ``exact`` is passed to ``wider_type``. A column is nullable where it is nullable in any schema. Raises
    ``SourceTypeError`` when the columns differ or two types have no common one, and ``UsageError`` for no schemas.
    """
    first: pa.Schema | None = None
    types: dict[str, list[pa.DataType]] = {}
    nullable: set[str] = set()
    for schema in schemas:
        if first is None:
            first, types = schema, {name: [] for name in schema.names}
        elif first.equals(schema):
            continue
        if sorted(first.names) != sorted(schema.names):
            raise SourceTypeError(f"columns {first.names} became {schema.names}")
        nullable |= {field.name for field in schema if field.nullable}
        for field in schema:
            if field.type not in types[field.name]:
                _check_common(field, types[field.name], exact=exact)
                types[field.name].append(field.type)
    if first is None:
        raise UsageError("there are no schemas to merge")
    fields = []
    for field in first:
        kind = widest_type(types[field.name], exact=exact)
        if kind is None:
            raise _no_common_type(field.name, *types[field.name][:2])
        fields.append(field.with_type(kind).with_nullable(field.name in nullable))
    return pa.schema(fields, metadata=first.metadata)


def _check_common(field: pa.Field, types: Iterable[pa.DataType], *, exact: bool) -> None:
    """Raise ``SourceTypeError`` unless the field's type has a common one with each of ``types``.

    int64 and uint64 have none, even if a double comes between them.
    """
    for kind in types:
        if wider_type(kind, field.type, exact=exact) is None:
            raise _no_common_type(field.name, kind, field.type)


def _no_common_type(column: str, one: pa.DataType, other: pa.DataType) -> SourceTypeError:
    return SourceTypeError(
        f"column {column!r} is {one} in one part and {other} in another",
        hint=f"give text (CSV, JSON lines) its type: {column_type_option(column)}; "
        "write other data with one type, or load it as another dataset",
        column=column,
    )
