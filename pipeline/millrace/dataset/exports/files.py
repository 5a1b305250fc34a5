"""Export a dataset to a file in bounded memory, completely or not at all. Its name or an option gives the format."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import pyarrow as pa

from millrace.dataset.exports.writers import WRITERS
from millrace.errors import InvalidSettingError, OutputError, UsageError

STANDARD_OUTPUT: Final = "-"

_SUFFIXES: Final = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
    ".arrows": "arrows",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}
_COMPRESSIONS: Final = {".gz": "gzip", ".zst": "zstd"}
_COMPRESSED_FORMATS: Final = ("csv", "jsonl", "arrows")
"""Parquet compresses by itself, and a compressed Arrow file could not be memory-mapped."""

_parts: set[Path] = set()
"""Files that are being written now, by the names that they have until they are complete."""


@dataclass(frozen=True, slots=True)
class Exported:
    """The result of an export: rows, and bytes of the file (0 on standard output, where they are not counted)."""

    rows: int
    file_bytes: int


def format_of(target: str, given: str | None) -> tuple[str, str | None]:
    """Return format and compression (``gzip``, ``zstd`` or None) for ``target``; ``given`` overrides its name.

    Raises ``UsageError`` when neither determines a format, or for a pair that makes no sense, and
    ``InvalidSettingError`` for an unknown ``given``.
    """
    if given is not None and given not in WRITERS:
        raise InvalidSettingError(f"unknown format {given!r}", hint=f"use one of {', '.join(WRITERS)}")
    path = Path(target)
    compression = None if target == STANDARD_OUTPUT else _COMPRESSIONS.get(path.suffix.lower())
    suffix = Path(path.stem).suffix if compression else path.suffix
    format_ = given or (None if target == STANDARD_OUTPUT else _SUFFIXES.get(suffix.lower()))
    if format_ is None:
        suffixes = " ".join(_SUFFIXES)
        raise UsageError(
            f"the name {target!r} does not determine a format",
            hint=f"give --format ({', '.join(WRITERS)}), or a name that ends in one of {suffixes}",
        )
    if compression and format_ not in _COMPRESSED_FORMATS:
        raise UsageError(
            f"{target!r}: {format_} files are not compressed as a whole", hint=f"leave {path.suffix} out of the name"
        )
    return format_, compression


def export(
    batches: Iterable[pa.RecordBatch], schema: pa.Schema, target: str, format_: str, compression: str | None = None
) -> Exported:
    """Write the batches to ``target`` (``-``: standard output) as ``format_``, with one batch in memory at a time.

    A file appears under its name once it is complete and on disk. An error before that leaves no file, and an existing
    file unchanged. Raises ``UsageError`` for columns that the format cannot hold and for a target that cannot be a
    file. Raises ``OutputError`` when writing fails, and any error of reading ``batches``.
    """
    rows = 0
    with _opened(target) as sink:
        out: Any = sink if compression is None else pa.CompressedOutputStream(sink, compression)
        writer = WRITERS[format_](out, schema)
        try:
            # Errors of reading the batches are not errors of the output, so only those of writes are translated.
            for batch in batches:
                with _failing(target):
                    writer.write(batch)
                rows += batch.num_rows
            with _failing(target):
                writer.close()
                if out is not sink:
                    out.close()
        except BaseException:
            writer.abandon()
            if out is not sink:
                with suppress(OSError, pa.ArrowException):
                    out.close()  # otherwise it reports a native error when it is destroyed after its file
            raise
    return Exported(rows, 0 if target == STANDARD_OUTPUT else Path(target).stat().st_size)


@contextmanager
def _failing(target: str) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise  # the process that reads the standard output has closed it
    except (OSError, pa.ArrowException) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise OutputError(f"{target} cannot be written: {' '.join(reason.split())}", file=target) from error


@contextmanager
def _opened(target: str) -> Iterator[Any]:
    """Open a binary sink that becomes ``target`` when the block ends without an error."""
    if target == STANDARD_OUTPUT:
        sys.stdout.flush()
        # A duplicate descriptor, which is closed before an abandoned writer can write an end to incomplete output.
        with os.fdopen(os.dup(sys.stdout.fileno()), "wb") as stdout:
            yield pa.PythonFile(stdout, mode="w")
        return
    # A symbolic link stays a link: its target is replaced.
    path = Path(os.path.realpath(target))
    if _is_special(path):
        with _failing(target), pa.OSFile(str(path), mode="w") as sink:
            yield sink
        return
    part = path.with_name(f".{path.name[:100]}.{uuid4().hex[:8]}.part")
    _parts.add(part)
    try:
        with _failing(target):
            sink = pa.OSFile(str(part), mode="w")
        with sink:
            yield sink
            with _failing(target):
                sink.close()
                with part.open("rb") as written:
                    os.fsync(written.fileno())
                part.replace(path)
    finally:
        with suppress(FileNotFoundError):
            part.unlink()
        _parts.discard(part)


def discard_parts() -> None:
    """Remove incomplete files, for a process that ends without unwinding; safe to call from any thread."""
    for part in list(_parts):
        with suppress(OSError):
            part.unlink()


def _is_special(path: Path) -> bool:
    """Return whether the path is a device or a FIFO, which is written to and not replaced.

    Raises ``UsageError`` for a path that cannot be a file.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        if not path.parent.is_dir():
            raise UsageError(f"there is no folder {path.parent}", hint="create it first") from None
        return False
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from None
    if stat.S_ISDIR(mode):
        raise UsageError(f"{path} is a folder", hint="name the file to write")
    return not stat.S_ISREG(mode)
