"""Refusal of files within a table format such as Delta: only the log determines which files are in the table."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator

from millrace.errors import SourceFormatError

_LOGS = {
    "_delta_log": "a Delta table",
    ".hoodie": "a Hudi table",
    ".hoodie_partition_metadata": "a part of a Hudi table",
    "_spark_metadata": "the output of a Spark stream",
}
_ANY_FORMAT = {"_spark_metadata"}
_ENDINGS = (".parquet", ".pq", ".orc", ".avro")
_MAGIC = (b"PAR1", b"ORC", b"Obj\x01")
_ICEBERG_FOLDER = "metadata"
_ICEBERG_LOG = re.compile(r"version-hint\.text|(?:v\d+|\d+-[0-9a-f-]{36})(?:\.gz)?\.metadata\.json(?:\.gz)?")
_SCANS = {"a Delta table": "delta_scan", "an Iceberg table": "iceberg_scan"}


def refuse_table_formats(base: str, paths: Iterable[str]) -> None:
    """Raise ``SourceFormatError`` when one of the files below ``base`` is within a table of such a format.

    Every folder from ``base`` down to a file is checked. A table in a folder above ``base`` counts only for files of
    the formats that tables use; the output of a Spark stream counts for any file, because it may have any format. A
    file within the log folder itself may be read, because it has rows of its own.
    """
    paths, real_base = list(paths), os.path.realpath(base)
    seen = {real_base: _table_at(real_base)}
    for path in paths:
        name = path[len(base.rstrip("/")) + 1 :]
        # Below the base the listed names are used, not resolved paths: a link counts as the folder it leads to.
        _check_upwards(*os.path.split(f"{real_base.rstrip('/')}/{name}"), seen)
    folder, child = os.path.split(real_base)
    while child:
        table = _table_at(folder)
        if table and child != table[1] and (table[1] in _ANY_FORMAT or any(map(_is_of_tables, paths))):
            raise _refused(folder, *table)
        folder, child = os.path.split(folder)


def refuse_remote_tables(base: str, names: Iterable[str], taken: Iterable[str]) -> None:
    """Raise ``SourceFormatError`` when one of the objects ``taken`` is within a table of such a format.

    ``names`` are those of all objects below the address ``base``, also of hidden ones, relative to it. Folders above
    ``base`` are not checked.
    """
    tables = dict(table for name in names for table in _tables_of(name))
    for name in taken if tables else ():
        parts = name.split("/")
        for depth, child in enumerate(parts):
            table = tables.get("/".join(parts[:depth]))
            if table is not None and child != table[1]:
                raise _refused("/".join((base, *parts[:depth])), *table)


def _tables_of(name: str) -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield each folder that the path of an object shows to be a table, with the table's kind and log."""
    parts = name.split("/")
    for depth, part in enumerate(parts):
        if part in _LOGS:
            yield "/".join(parts[:depth]), (_LOGS[part], part)
    if len(parts) > 1 and parts[-2] == _ICEBERG_FOLDER and _ICEBERG_LOG.fullmatch(parts[-1]):
        yield "/".join(parts[:-2]), ("an Iceberg table", _ICEBERG_FOLDER)


def _check_upwards(folder: str, child: str, seen: dict[str, tuple[str, str] | None]) -> None:
    """Check the folders upwards until one that was checked before, which is the base at the latest."""
    while True:
        is_checked = folder in seen
        table = seen[folder] if is_checked else seen.setdefault(folder, _table_at(folder))
        if table is not None and child != table[1]:
            raise _refused(folder, *table)
        if is_checked:
            return
        folder, child = os.path.split(folder)


def _is_of_tables(path: str) -> bool:
    """Return whether a file is Parquet, ORC or Avro, the formats of table data."""
    if path.lower().endswith(_ENDINGS):
        return True
    try:
        with open(path, "rb") as stream:  # noqa: PTH123
            return stream.read(4).startswith(_MAGIC)
    except OSError:
        return False  # reading the file raises the error


def _table_at(folder: str) -> tuple[str, str] | None:
    """Return the kind of table in the folder and the name of its log, or None."""
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
        f"{folder} is {kind}: only its log {log} lists the files that are part of it",
        hint=f"{export}name one file by its own path, or keep the whole tree with --format bytes",
        file=folder,
    )
