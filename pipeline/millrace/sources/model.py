"""The model of a planned source: its files and splits, and the plan that contains them."""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

import pyarrow as pa

from millrace.errors import UsageError
from millrace.sources.options import SourceOptions
from millrace.sources.row_rules import NO_RULES, RowRules
from millrace.sources.warnings import SourceWarning

_PLAIN_FILE_LIST = 100
"""Longer lists of files are compressed in JSON, so that a plan of 100,000 files still fits into an XCom."""


class FileFacts(NamedTuple):
    """The facts by which a change of a file is noticed, as in ``SourceFile``."""

    size_bytes: int
    modified_ns: int
    change_id: str = ""

    @property
    def show_changes(self) -> bool:
        """Return whether other content has other facts; without a time and a change id it may have the same size."""
        return bool(self.modified_ns or self.change_id)


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

    change_id: str = ""
    """A text that changes with the content where size and time may not.

    It is the time of the last change of the inode (``ctime``) of a local file, and the strong ETag or the version id of
    a remote object. It is empty if there is none.
    """

    has_ranges: bool = True
    """Whether parts of the file can be read alone.

    Standard input and the answers of some web servers are read front to back, and their size may be unknown (0).
    """

    connection: str = ""
    """The name of the connection with which a remote file is read; "" if none was given."""

    encoding: str = ""
    """The ``Content-Encoding`` of a remote file; "" if there is none."""

    @property
    def facts(self) -> FileFacts:
        """Return the facts by which a change of the file is noticed."""
        return FileFacts(self.size_bytes, self.modified_ns, self.change_id)

    @property
    def has_unknown_size(self) -> bool:
        """Return whether the size is not known before the file is read."""
        return not self.has_ranges and self.size_bytes == 0

    def to_json(self) -> list[Any]:
        """Return all fields in their order, without ``has_ranges`` and later ones where these have their defaults."""
        values = [self.uri, self.name, *self.facts]
        remote = [self.has_ranges, self.connection, self.encoding]
        return values if remote == [True, "", ""] else [*values, *remote]


class FilePart(NamedTuple):
    """A part of one file: the index of the file in its plan, and the units ``start`` to ``stop`` as in a ``Split``."""

    file: int
    start: int
    stop: int


class ReadBatch(NamedTuple):
    """Rows of one file, which has the index ``file``; ``part_bytes`` of this part of the file were read so far."""

    batch: pa.RecordBatch
    file: int
    part_bytes: int


@dataclass(frozen=True, slots=True)
class Split:
    """A part of a source that can be read alone: from ``start`` in its first file to ``stop`` in its last file.

    ``files`` are consecutive indexes into ``SourcePlan.files``. Files between the first and the last are read whole.
    ``start`` and ``stop`` count bytes (CSV, JSON lines, bytes), row groups (Parquet) or record batches (Arrow).
    ``stop`` is exclusive; -1 means the end, which is not known before a compressed file is read.
    ``bytes`` is the number of source bytes it covers, for progress. ``rows`` is None where it is not known before
    reading. ``line`` is the number of the line at ``start``, and 0 where it is not known.
    """

    index: int
    label: str
    files: tuple[int, ...]
    start: int
    stop: int
    bytes: int
    rows: int | None = None
    line: int = 0


@dataclass(frozen=True, slots=True)
class SourcePlan:
    """All facts needed to read a source, fixed before the first row is read.

    Reading the splits one after another yields every row once: file after file, and each file in its own order. Files
    are in byte order of their relative paths, those of a list of paths in the order of that list. ``schema`` has the
    final names and order of the columns. Its types are those found when planning; columns of nulls and of integers
    may be widened while reading. ``single_file``: the source is one file by its own name or standard input, and not
    a folder, pattern or list. ``is_copy``: the file is a temporary copy of Arrow data. ``rules`` are the reactions to
    rows that do not fit. With a contract, the first ``agreed`` columns are those of the latest version.
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
    is_copy: bool = False
    rules: RowRules = NO_RULES
    agreed: int = 0

    @property
    def source_schema(self) -> pa.Schema:
        """Return ``schema`` with the source's own column names, before ``rename``."""
        old = {new: name for name, new in self.options.rename}
        fields = [field.with_name(old.get(field.name, field.name)) for field in self.schema]
        return pa.schema(fields, self.schema.metadata)

    @property
    def fixed_columns(self) -> frozenset[str]:
        """Return the columns whose types the contract keeps, by their names in the source."""
        return frozenset() if self.rules.widens else frozenset(self.source_schema.names[: self.agreed])

    @property
    def may_lack_columns(self) -> bool:
        """Return whether a file may lack columns of the plan, or have others, because the source has a contract."""
        return self.rules.columns is not None

    def to_json(self) -> dict[str, Any]:
        """Return the plan as JSON values, a few KB for up to 100 files; ``from_json`` restores an equal plan."""
        files: Any = [file.to_json() for file in self.files]
        if len(files) > _PLAIN_FILE_LIST:
            files = base64.b64encode(zlib.compress(json.dumps(files).encode(), 6)).decode()
        return {
            "uri": self.uri,
            "format": self.format,
            "kind": self.kind,
            "schema": base64.b64encode(self.schema.serialize().to_pybytes()).decode(),
            "files": files,
            # The indexes of files are consecutive, so the first and the last are enough.
            "splits": [{**asdict(split), "files": [split.files[0], split.files[-1]]} for split in self.splits],
            "total_bytes": self.total_bytes,
            "total_rows": self.total_rows,
            "options": self.options.to_json(),
            "warnings": [asdict(warning) for warning in self.warnings],
            "single_file": self.single_file,
            "is_copy": self.is_copy,
            "rules": self.rules.to_json(),
            "agreed": self.agreed,
        }

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> SourcePlan:
        """Return the plan from the values of ``to_json``; raises ``UsageError`` for any other value."""
        try:
            files = fields["files"]
            if isinstance(files, str):
                files = json.loads(zlib.decompress(base64.b64decode(files)))
            return cls(
                uri=fields["uri"],
                format=fields["format"],
                kind=fields["kind"],
                schema=pa.ipc.read_schema(pa.BufferReader(base64.b64decode(fields["schema"]))),
                files=tuple(SourceFile(*file) for file in files),
                splits=tuple(_split_from_json(split) for split in fields["splits"]),
                total_bytes=fields["total_bytes"],
                total_rows=fields["total_rows"],
                options=SourceOptions.from_json(fields["options"]),
                warnings=tuple(SourceWarning(**warning) for warning in fields["warnings"]),
                single_file=fields["single_file"],
                is_copy=fields["is_copy"],
                rules=RowRules.from_json(fields["rules"]),
                agreed=fields["agreed"],
            )
        except (KeyError, TypeError, ValueError, zlib.error, pa.ArrowException) as error:
            raise UsageError(f"this is not the plan of a source: {error!r}") from error

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


def _split_from_json(fields: dict[str, Any]) -> Split:
    first, last = fields["files"]
    return Split(**{**fields, "files": tuple(range(first, last + 1))})
