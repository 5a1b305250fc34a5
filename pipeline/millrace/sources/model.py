"""What a source is once it has been looked at: options, files, splits and the plan that joins them."""

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
"""Longer lists of files travel compressed, so that a plan of 100,000 files still fits an XCom."""

_MAX_UNIT_BYTES = 1_000_000_000
"""Arrow's 32-bit offsets end at 2 GiB, and a unit is held about twice while it is parsed."""


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """How a source is to be understood; wrong values are refused here, by name.

    ``format``: one of ``FORMATS``; None means by the file's name, then by its content.
    ``null_values``: CSV only; replaces pyarrow's default spellings and then holds for every column, text too.
    ``column_types``: pairs of column and Arrow type spelling (``types.parse_type``), CSV and JSON lines only.
    ``schema_file``: types by column from an Arrow or Parquet file, or from JSON ``{"column": "type"}``.
    ``decimal``, ``date_format``, ``true_value``, ``false_value``: CSV only; how its numbers, dates, times and booleans
    are written (``csv_dates``). ``delimiter`` may be ``auto``. ``skip_rows``: CSV only; lines before
    the header of each file. ``columns``: only these, in this order; ``rename``: pairs of old and new name. Both are
    for every table, and ``columns`` and ``column_types`` name columns as the source does.
    ``delimiter``, ``encoding``: None where nobody said them; a plan has those in force (``,``, or a tab for ``.tsv``;
    ``utf-8``). One that was said, or a missing header, makes a CSV of text that neither name nor format tells.
    ``infer_bytes``: how much of a CSV or JSON lines source is looked at to find its types.
    ``max_unit_bytes``: the largest record, line, row group or record batch that is read at once.
    ``split_bytes``, ``max_splits``: the size and number of parts that can be read alone.
    ``piece_bytes``: the most bytes of a file that one row of a bytes source holds.
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
        """Return the options with these fields replaced; an unknown name raises ``UsageError`` with the nearest one."""
        names = [field.name for field in fields(self)]
        for name in given:
            if name not in names:
                near = nearest(name, names, at_most=1)
                hint = f"did you mean {near[0]}?" if near else f"use one of {', '.join(names)}"
                raise UsageError(f"there is no option {name!r} of a source", hint=hint)
        return replace(self, **given)

    def to_json(self) -> dict[str, Any]:
        """All options as JSON values; ``from_json`` gives an equal object back."""
        said = asdict(self)
        said["column_types"] = [list(pair) for pair in self.column_types]
        said["rename"] = [list(pair) for pair in self.rename]
        said["null_values"] = None if self.null_values is None else list(self.null_values)
        return said

    @classmethod
    def from_json(cls, said: dict[str, Any]) -> SourceOptions:
        """The options that ``to_json`` gave; an unknown name raises ``InvalidSettingError``."""
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
    """One file as the plan found it.

    ``name`` is relative to the source ("/" separated); one that ends in "/" is an empty directory (bytes only).
    ``modified_ns`` is the time of the last change in nanoseconds since 1970.
    """

    uri: str
    name: str
    size_bytes: int
    modified_ns: int


@dataclass(frozen=True, slots=True)
class Split:
    """A part of a source that can be read alone: from ``start`` in its first file to ``stop`` in its last.

    ``files`` are consecutive indexes into ``SourcePlan.files``; files between the first and the last are read
    whole. ``start`` and ``stop`` count bytes (CSV, JSON lines, bytes), row groups (Parquet) or record batches
    (Arrow); ``stop`` is exclusive, and -1 means the end, which is not known before reading a compressed file.
    ``bytes`` is how much of the source it covers, for progress; ``rows`` is None where only reading tells.
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
    """Everything that reading a source needs, fixed before the first row is read.

    Reading the splits one after another gives every row once, in the order of the files' relative paths (byte
    order; those of a list in the order of its paths) and of each file. ``schema`` has the names and the order of the
    columns for good; its types are those found when planning, which nulls and integers may widen. ``single_file``: the
    source is one file by its own name, or standard input, and no folder, pattern or list.
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
        """``schema`` with the names that the source has, before they are renamed."""
        old = {new: name for name, new in self.options.rename}
        fields = [field.with_name(old.get(field.name, field.name)) for field in self.schema]
        return pa.schema(fields, self.schema.metadata)

    def to_json(self) -> dict[str, Any]:
        """The plan as JSON values; ``from_json`` gives an equal plan back. A few KB, up to 100 files."""
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
        """The plan that ``to_json`` gave; raises ``UsageError`` for anything else."""
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
        """What a version records of its source: where, what, how much, and a digest that changes with it.

        ``single_file`` says that bytes of it come back as one file, not as a folder. ``digest`` is over name, size
        and time of the last change of every file; what is in them is known when they were read (``Content``).
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
    # Consecutive by definition, so the two ends say it all.
    said["files"] = [split.files[0], split.files[-1]]
    return said


def _split_from_json(said: dict[str, Any]) -> Split:
    first, last = said["files"]
    return Split(**{**said, "files": tuple(range(first, last + 1))})
