"""The model of a planned source: its options, files and splits, and the plan that contains them."""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

import pyarrow as pa

from millrace.errors import InvalidSettingError, UsageError
from millrace.names import nearest
from millrace.sources.table_options import AUTO, check_table_options, check_types
from millrace.sources.warnings import SourceWarning

__all__ = ["FORMATS", "SourceFile", "SourceOptions", "SourcePlan", "Split"]

FORMATS = ("csv", "parquet", "jsonl", "arrow", "bytes")

_PLAIN_FILE_LIST = 100
"""Longer lists of files are compressed in JSON, so that a plan of 100,000 files still fits into an XCom."""

_MAX_UNIT_BYTES = 1_000_000_000
"""Arrow's 32-bit offsets end at 2 GiB, and a unit is about twice in memory while it is parsed."""


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """Options that define how a source is read; the constructor raises ``InvalidSettingError`` for a wrong value.

    ``format``: one of ``FORMATS``; None means detection by the file's name, then by its content.
    ``null_values``: CSV only; replaces pyarrow's default spellings of null and then applies to every column, including
    text.
    ``column_types``: pairs of column and Arrow type spelling (``types.parse_type``), CSV and JSON lines only.
    ``schema_file``: types by column from an Arrow or Parquet file, or from JSON ``{"column": "type"}``.
    ``decimal``, ``date_format``, ``true_value``, ``false_value``: CSV only; the spelling of numbers, dates, times and
    booleans (``csv_dates``).
    ``skip_rows``: CSV only; the number of lines before the header of each file.
    ``columns``: only these columns, in this order. ``rename``: pairs of old and new name. Both apply to every table
    format. ``columns`` and ``column_types`` use the source's own column names.
    ``delimiter``, ``encoding``: None where not given; a plan has the effective ones (``,``, or a tab for ``.tsv``;
    ``utf-8``). ``delimiter`` may be ``auto``. Text whose format is determined neither by its name nor by ``format`` is
    read as a CSV if one of these two is given or ``header`` is False.
    ``infer_bytes``: the number of bytes of a CSV or JSON lines source that are parsed to infer its types.
    ``max_unit_bytes``: the largest record, line, row group or record batch that is read at once, in bytes.
    ``split_bytes``, ``max_splits``: the size in bytes and the number of parts that can be read alone.
    ``piece_bytes``: the largest number of bytes of a file in one row of a bytes source.
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
    columns: tuple[str, ...] | None = None
    rename: tuple[tuple[str, str], ...] = ()
    infer_bytes: int = 64_000_000
    max_unit_bytes: int = 64_000_000
    split_bytes: int = 16_000_000
    max_splits: int = 64
    piece_bytes: int = 1_000_000

    def __post_init__(self) -> None:
        check_types(self)
        if self.format is not None and self.format not in FORMATS:
            raise InvalidSettingError(f"unknown source format {self.format!r}", hint=f"use one of {', '.join(FORMATS)}")
        delimiter = "," if self.delimiter is None else self.delimiter
        if delimiter != AUTO and (len(delimiter) != 1 or not delimiter.isascii() or delimiter in '"\r\n\0'):
            raise InvalidSettingError(
                f"the delimiter is {self.delimiter!r}",
                hint="give one ASCII character that is no quote and no line end, or auto",
            )
        for name, low, high in (
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
        check_table_options(self)

    def with_fields(self, given: dict[str, Any]) -> SourceOptions:
        """Return the options with these fields replaced.

        Raises ``UsageError`` for an unknown name, with the nearest known one in its hint.
        """
        names = [field.name for field in fields(self)]
        for name in given:
            if name not in names:
                near = nearest(name, names, at_most=1)
                hint = f"did you mean {near[0]}?" if near else f"use one of {', '.join(names)}"
                raise UsageError(f"there is no option {name!r} of a source", hint=hint)
        return replace(self, **given)

    def to_json(self) -> dict[str, Any]:
        """Return all options as JSON values; ``from_json`` restores an equal object."""
        said = asdict(self)
        said["column_types"] = [list(pair) for pair in self.column_types]
        said["rename"] = [list(pair) for pair in self.rename]
        said["null_values"] = None if self.null_values is None else list(self.null_values)
        return said

    @classmethod
    def from_json(cls, said: dict[str, Any]) -> SourceOptions:
        """Return the options from the values of ``to_json``; raises ``InvalidSettingError`` for an unknown name."""
        unknown = sorted(set(said) - {field.name for field in fields(cls)})
        if unknown:
            raise InvalidSettingError(f"unknown source option {unknown[0]!r}")
        given = dict(said)
        if given.get("null_values") is not None:
            given["null_values"] = tuple(given["null_values"])
        given["column_types"] = tuple((name, kind) for name, kind in given.get("column_types", ()))
        return cls(**given)


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file with its size and modification time at planning.

    ``name`` is relative to the source ("/" separated); one that ends in "/" is an empty directory (bytes only).
    ``modified_ns`` is the modification time in nanoseconds since 1970.
    """

    uri: str
    name: str
    size_bytes: int
    modified_ns: int


@dataclass(frozen=True, slots=True)
class Split:
    """A part of a source that can be read alone: from ``start`` in its first file to ``stop`` in its last file.

    ``files`` are consecutive indexes into ``SourcePlan.files``. Files between the first and the last are read whole.
    ``start`` and ``stop`` count bytes (CSV, JSON lines, bytes), row groups (Parquet) or record batches (Arrow).
    ``stop`` is exclusive; -1 means the end, which is not known before a compressed file is read.
    ``bytes`` is the number of source bytes it covers, for progress. ``rows`` is None where it is not known before
    reading.
    """

    index: int
    label: str
    files: tuple[int, ...]
    start: int
    stop: int
    bytes: int
    rows: int | None = None


@dataclass(frozen=True, slots=True)
class SourcePlan:
    """All facts needed to read a source, fixed before the first row is read.

    Reading the splits one after another yields every row once: file after file, and each file in its own order. Files
    are in byte order of their relative paths, those of a list of paths in the order of that list. ``schema`` has the
    final names and order of the columns. Its types are those found when planning; columns of nulls and of integers
    may be widened while reading. ``single_file``: the source is one file by its own name or standard input, and not
    a folder, pattern or list.
    """

    uri: str
    format: str
    kind: Literal["table", "bytes"]
    schema: pa.Schema
    files: tuple[SourceFile, ...]
    splits: tuple[Split, ...]
    total_bytes: int
    total_rows: int | None
    options: SourceOptions
    warnings: tuple[SourceWarning, ...] = ()
    single_file: bool = False

    @property
    def source_schema(self) -> pa.Schema:
        """Return ``schema`` with the source's own column names, before ``rename``."""
        old = {new: name for name, new in self.options.rename}
        fields = [field.with_name(old.get(field.name, field.name)) for field in self.schema]
        return pa.schema(fields, self.schema.metadata)

    def to_json(self) -> dict[str, Any]:
        """Return the plan as JSON values, a few KB for up to 100 files; ``from_json`` restores an equal plan."""
        files: Any = [[file.uri, file.name, file.size_bytes, file.modified_ns] for file in self.files]
        if len(files) > _PLAIN_FILE_LIST:
            files = base64.b64encode(zlib.compress(json.dumps(files).encode(), 6)).decode()
        return {
            "uri": self.uri,
            "format": self.format,
            "kind": self.kind,
            "schema": base64.b64encode(self.schema.serialize().to_pybytes()).decode(),
            "files": files,
            "splits": [_split_to_json(split) for split in self.splits],
            "total_bytes": self.total_bytes,
            "total_rows": self.total_rows,
            "options": self.options.to_json(),
            "warnings": [asdict(warning) for warning in self.warnings],
            "single_file": self.single_file,
        }

    @classmethod
    def from_json(cls, said: dict[str, Any]) -> SourcePlan:
        """Return the plan from the values of ``to_json``; raises ``UsageError`` for any other value."""
        try:
            files = said["files"]
            if isinstance(files, str):
                files = json.loads(zlib.decompress(base64.b64decode(files)))
            return cls(
                uri=said["uri"],
                format=said["format"],
                kind=said["kind"],
                schema=pa.ipc.read_schema(pa.BufferReader(base64.b64decode(said["schema"]))),
                files=tuple(SourceFile(*file) for file in files),
                splits=tuple(_split_from_json(split) for split in said["splits"]),
                total_bytes=said["total_bytes"],
                total_rows=said["total_rows"],
                options=SourceOptions.from_json(said["options"]),
                warnings=tuple(SourceWarning.from_json(warning) for warning in said["warnings"]),
                single_file=said["single_file"],
            )
        except (KeyError, TypeError, ValueError, zlib.error, pa.ArrowException) as error:
            raise UsageError(f"this is no plan of a source: {error!r}") from error

    def facts(self) -> dict[str, Any]:
        """Return the facts that a version records of its source: address, format, size, and a digest of its files.

        ``single_file`` means that a bytes dataset is restored as one file, not as a folder. ``digest`` is the SHA-256
        of name, size in bytes and modification time of every file. A checksum of the content exists only after
        reading (``SourceChecksum``).
        """
        digest = hashlib.sha256()
        for file in self.files:
            digest.update(json.dumps([file.name, file.size_bytes, file.modified_ns]).encode() + b"\n")
        return {
            "uri": self.uri,
            "format": self.format,
            "files": len(self.files),
            "single_file": self.single_file,
            "bytes": self.total_bytes,
            "digest": digest.hexdigest(),
            "first_files": [file.name for file in self.files[:5]],
        }


def _split_to_json(split: Split) -> dict[str, Any]:
    said = asdict(split)
    # The indexes are consecutive, so the first and the last are enough.
    said["files"] = [split.files[0], split.files[-1]]
    return said


def _split_from_json(said: dict[str, Any]) -> Split:
    first, last = said["files"]
    return Split(**{**said, "files": tuple(range(first, last + 1))})
