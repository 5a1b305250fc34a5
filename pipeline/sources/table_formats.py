"""Folders of table formats: only their log knows which of their files are part of the table."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

from pipeline.errors import SourceFormatError

__all__ = ["refuse_table_formats"]

_LOGS = {
    "_delta_log": "a Delta table",
    ".hoodie": "a Hudi table",
    ".hoodie_partition_metadata": "a part of a Hudi table",
    "_spark_metadata": "the output of a Spark stream",
}
_ICEBERG_FOLDER = "metadata"
_ICEBERG_LOG = re.compile(r"version-hint\.text|(?:v\d+|\d+-[0-9a-f-]{36})(?:\.gz)?\.metadata\.json(?:\.gz)?")
_SCANS = {"a Delta table": "delta_scan", "an Iceberg table": "iceberg_scan"}


def refuse_table_formats(base: str, paths: Iterable[str]) -> None:
    """Raise ``SourceFormatError`` where one of the files below ``base`` is within a table of such a format.

    Looked at is every folder on the way from the root of the filesystem to a file. A file of the log itself may be
    read, for it holds rows of its own.
    """
    seen: dict[str, tuple[str, str] | None] = {}
    real_base = os.path.realpath(base)
    _check_upwards(real_base, "", seen)
    for path in paths:
        name = path[len(base.rstrip("/")) + 1 :]
        # Below the base by the names that were walked: a link within it stands for the folder it leads to.
        _check_upwards(*os.path.split(f"{real_base.rstrip('/')}/{name}"), seen)


def _check_upwards(folder: str, child: str, seen: dict[str, tuple[str, str] | None]) -> None:
    while True:
        known = folder in seen
        table = seen[folder] if known else seen.setdefault(folder, _table_at(folder))
        if table is not None and child != table[1]:
            raise _refused(folder, *table)
        above, child = os.path.split(folder)
        if known or above == folder:
            return
        folder = above


def _table_at(folder: str) -> tuple[str, str] | None:
    """What the folder holds and the name of its log, or None."""
    for log, kind in _LOGS.items():
        if os.path.lexists(f"{folder}/{log}"):
            return kind, log
    try:
        names = os.listdir(f"{folder}/{_ICEBERG_FOLDER}")  # noqa: PTH208
    except OSError:
        return None
    return ("an Iceberg table", _ICEBERG_FOLDER) if any(map(_ICEBERG_LOG.fullmatch, names)) else None


def _refused(folder: str, kind: str, log: str) -> SourceFormatError:
    scan = _SCANS.get(kind)
    export = f"export its rows (duckdb: COPY (FROM {scan}('{folder}')) TO 'rows.parquet'), " if scan else ""
    return SourceFormatError(
        f"{folder} is {kind}: only its log {log} says which of its files are part of it",
        hint=f"{export}name one file by its own path, or keep the whole tree with --format bytes",
        file=folder,
    )
