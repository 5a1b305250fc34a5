"""Read rows of ``versions``: all of a dataset, or one with its schema and pages."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from typing import Any

from millrace.errors import ChecksumMismatchError, ChunkFormatError, VersionNotFoundError
from millrace.store.catalogue.not_found import not_found
from millrace.store.catalogue.row_reader import RowReader, Rows
from millrace.store.catalogue.version import FORMAT_NUMBER, Version

ReadRows = Callable[[str, tuple[Any, ...]], Rows[Any]]
"""Reads rows at one consistency level: ``RowReader.rows``, or ``AllReplicas.rows`` before something is deleted."""

_SUMMARY = (
    "number, hex, parent, mode, kind, attempt_id, attempts, run, code, rows, raw_bytes, stored_bytes, chunks, "
    "page_count, source, settings, committed_at, checksum, deleted_at, mark, purged_at"
)
_CONTENT = (
    f"SELECT {_SUMMARY}, arrow_schema, pages, files FROM {{ks}}.versions WHERE dataset = ? AND number = ? AND hex = ?"  # noqa: S608 constant names
)
_CACHED_VERSIONS = 64


def read_versions(read: ReadRows, dataset: str, condition: str = "", values: tuple[Any, ...] = ()) -> Rows[Version]:
    """Return the versions of a dataset, newest first, including deleted ones, without schema and pages.

    ``condition`` is CQL that follows the dataset's condition; ``values`` are its parameters.
    """
    rows = read(f"SELECT {_SUMMARY} FROM {{ks}}.versions WHERE dataset = ?{condition}", (dataset, *values))  # noqa: S608 constant names
    return Rows([Version.from_row(dataset, row) for row in rows if not _is_mark(row)], rows.degraded)


def _is_mark(row: Any) -> bool:
    """Return whether the row holds only a deletion mark, because its node missed the version's row."""
    return row.checksum is None and (row.deleted_at is not None or row.purged_at is not None)


class VersionContents:
    """Reader of versions with their schema and pages, which it verifies.

    Threads may share an instance. A lock protects its cache, whose versions never change.
    """

    def __init__(self, reader: RowReader) -> None:
        self._reader = reader
        self._cache: OrderedDict[tuple[str, str], Version] = OrderedDict()
        self._lock = threading.Lock()

    def cached(self, version: Version) -> Version:
        """Return the version like ``read``, from this process's cache when its row is unchanged."""
        key = (version.dataset, version.label)
        cached = self._cache.get(key)
        if cached is not None:
            blobs = {name: getattr(cached, name) for name in ("schema_blob", "pages_blob", "files_blob")}
            current = replace(version, **blobs)
            marks = {name: getattr(current, name) for name in ("deleted_at", "mark", "purged_at", "degraded")}
            if replace(cached, **marks) == current:
                return current
        content = self.read(version)
        if not content.degraded:
            with self._lock:
                self._cache[key] = content
                if len(self._cache) > _CACHED_VERSIONS:
                    self._cache.popitem(last=False)
        return content

    def read(self, version: Version) -> Version:
        """Return the same version with schema and pages, its checksum verified.

        Raises ``VersionNotFoundError`` for a version that was removed, ``ChecksumMismatchError`` when no copy of its
        row is good, and ``StoreUnavailableError`` when its row is missing in a degraded read.
        """
        values = (version.dataset, version.number, version.hex)
        rows = self._reader.rows(_CONTENT, values)
        if not rows.items and rows.degraded:
            raise not_found(self._reader.cassandra, version.dataset, version.label, degraded=True)
        if not rows.items or rows.items[0].purged_at is not None:
            raise VersionNotFoundError(
                f"{version.reference} was deleted a moment ago", dataset=version.dataset, version=version.label
            )
        if version.format_number > FORMAT_NUMBER:
            raise ChunkFormatError(
                f"{version.reference} has format {version.format_number}, this Millrace reads {FORMAT_NUMBER}",
                hint="read it with a newer Millrace",
                dataset=version.dataset,
                version=version.label,
                expected=FORMAT_NUMBER,
                actual=version.format_number,
            )
        for row in chain(rows, self._reader.each_copy(_CONTENT, values)):
            content = replace(
                Version.from_row(version.dataset, row),
                schema_blob=row.arrow_schema,
                pages_blob=row.pages,
                files_blob=row.files,
                degraded=rows.degraded,
            )
            actual = content.compute_checksum()
            if actual == content.checksum:
                return content
        raise ChecksumMismatchError(
            f"the row of {version.reference} has a wrong checksum",
            hint="no node that answers has a good copy: millrace doctor",
            stage="stored",
            expected=content.checksum.hex(),
            actual=actual.hex(),
            dataset=version.dataset,
            version=version.label,
        )
