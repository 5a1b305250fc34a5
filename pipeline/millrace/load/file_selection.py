"""Select the files that a load reads, before any of them is opened.

A source is compared with the list of the files that the latest version's line has loaded. A file is compared by its
full URI and its facts, never by the newest time in the list. Only a file of equal size whose other facts changed, or
do not show a change, is read, to compare its CRC-32.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from millrace.chunks import ChunkSettings
from millrace.errors import InvalidSettingError, SourceChangedError, SourceTooLargeError, UsageError
from millrace.load.options import ON_CHANGE, LoadOptions
from millrace.sources import (
    STANDARD_INPUT,
    ArrowCopy,
    FileFacts,
    ListedFiles,
    Source,
    SourceFile,
    SourceOptions,
    count_body,
    list_each,
    read_content,
    short_list,
)
from millrace.store import RESTORED, Catalogue, LoadedFile, Version, VersionGraph

_NO_EFFECT = ("split_bytes", "max_splits", "connection")
"""Options that change neither the rows nor their types."""


@dataclass(frozen=True, slots=True)
class Selection:
    """The files that a load reads, and the options by which it reads them.

    ``listing`` is None if the source is not listed before it is planned. ``unchanged`` is true if there is nothing to
    load: ``listing`` then has all files of the source.
    """

    options: SourceOptions
    listing: ListedFiles | None = None
    unchanged: bool = False


def select_files(
    catalogue: Catalogue, graph: VersionGraph, given: Source, options: LoadOptions, parsing: str
) -> Selection:
    """Return the files of the source that a load reads, or that the source is unchanged.

    ``graph`` has the dataset's versions, and ``parsing`` is the digest of the load's settings (``parsing_digest``).
    Raises ``SourceChangedError`` for a loaded file whose content changed, unless ``options.on_change`` says otherwise.
    Raises ``SourceTooLargeError`` for more files or bytes than ``options`` allow. Raises ``UsageError`` for an
    incremental load of standard input or Arrow data.
    """
    _check_options(options)
    latest = graph.latest
    is_incremental = options.mode == "incremental"
    is_skipped = options.skip_unchanged and options.mode == "replace"
    has_limit = options.max_files is not None or options.max_bytes is not None
    if isinstance(given, ArrowCopy) or given == STANDARD_INPUT:
        if is_incremental:
            raise UsageError("this source has no files to compare", hint="use the mode append or replace")
        return Selection(options.source)
    if not (is_incremental or is_skipped or has_limit):
        return Selection(options.source)
    source = options.source
    if latest is not None and latest.kind == "bytes" and source.format is None and options.mode != "replace":
        source = replace(source, format="bytes")
    is_bytes = (latest.kind if latest is not None and source.format is None else source.format) == "bytes"
    paths = given[0] if not isinstance(given, str) and len(given) == 1 else given
    listing = list_each(paths, keep_all=is_bytes, connection=source.connection)
    if latest is not None and (is_incremental or (is_skipped and latest.settings.get("parsing") == parsing)):
        lists = [latest, *(_unmerged(graph, latest) if is_incremental else ())]
        loaded = [file for version in lists for file in catalogue.pages.files(catalogue.with_content(version))]
        new = _new_files(listing.files, loaded, options.on_change) if is_incremental else listing.files
        if not new or (is_skipped and _same_files(listing.files, loaded)):
            return Selection(source, listing, unchanged=True)
        listing = replace(listing, files=tuple(new))
    check_limits(short_list(paths), listing.files, options)
    # A bytes dataset that is replaced: the format is detected again, from the files that a table would have.
    return Selection(source, None if is_bytes and source.format is None else listing)


def _unmerged(graph: VersionGraph, latest: Version) -> list[Version]:
    """Return the appends with which the next append to ``latest`` is merged.

    Those whose deletion was undone are left out, because they are not merged if their files were loaded again.
    """
    heads = graph.heads(latest.root)
    return [head for head in heads if head.label != latest.label and head.mark != RESTORED]


def full_uri(file: SourceFile) -> str:
    """Return the address by which a list names the file; bytes that are not UTF-8 are escaped."""
    return os.fsencode(file.uri).decode(errors="backslashreplace")


def check_limits(uri: str, files: Sequence[SourceFile], options: LoadOptions) -> None:
    """Raise ``SourceTooLargeError`` if there are more files or bytes than the options allow.

    With ``max_bytes`` the bytes of a file whose server does not name its size are counted, and kept for the load.
    """
    if options.max_files is not None and len(files) > options.max_files:
        raise SourceTooLargeError(
            f"{uri} has {len(files):,} files to load, and max_files is {options.max_files:,}",
            hint="load fewer files at a time, or raise max_files",
            expected=options.max_files,
            actual=len(files),
        )
    if options.max_bytes is not None:
        _check_bytes(uri, files, options.max_bytes)


def _check_bytes(uri: str, files: Sequence[SourceFile], bytes_max: int) -> None:
    size_bytes, at_least = sum(file.size_bytes for file in files), ""
    for file in files:
        if file.has_unknown_size and size_bytes <= bytes_max:
            at_least = "at least "
            size_bytes += count_body(file, bytes_max - size_bytes)
    if size_bytes > bytes_max:
        raise SourceTooLargeError(
            f"{uri} has {at_least}{size_bytes:,} bytes to load, and max_bytes is {bytes_max:,}",
            hint="load fewer files at a time, or raise max_bytes",
            expected=bytes_max,
            actual=size_bytes,
        )


def parsing_digest(options: LoadOptions, chunks: ChunkSettings) -> str:
    """Return a digest of the settings by which rows are parsed, checked and stored."""
    source = {name: value for name, value in options.source.to_json().items() if name not in _NO_EFFECT}
    facts = {
        "source": source,
        "schema_file": _content_digest(options.source.schema_file),
        "contract": options.contract and options.contract.to_json(),
        "bad_rows": str(options.bad_rows),
        "chunks": chunks.to_json(),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def _content_digest(path: str | None) -> str | None:
    if path is None:
        return None
    with suppress(OSError, ValueError):  # the plan raises the error for a schema that cannot be read
        return hashlib.sha256(Path(path.removeprefix("file://")).read_bytes()).hexdigest()
    return None


def _check_options(options: LoadOptions) -> None:
    if options.on_change not in ON_CHANGE:
        raise InvalidSettingError(f"on_change is {options.on_change!r}", hint=f"use one of {', '.join(ON_CHANGE)}")
    for name in ("max_files", "max_bytes"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise InvalidSettingError(f"{name} is {value!r}", hint="give a whole number, at least 1")


def _same_files(files: Sequence[SourceFile], loaded: Sequence[LoadedFile]) -> bool:
    """Return whether the files are exactly the loaded ones, in the same order. No file is read if a size differs."""
    if [(full_uri(file), file.size_bytes) for file in files] != [(entry.uri, entry.size_bytes) for entry in loaded]:
        return False
    return all(_is_loaded(file, [entry]) for file, entry in zip(files, loaded, strict=True))


def _new_files(files: Sequence[SourceFile], loaded: Sequence[LoadedFile], on_change: str) -> list[SourceFile]:
    """Return the files that are not loaded yet. A loaded file that changed is refused, loaded again or left out."""
    by_uri: dict[str, list[LoadedFile]] = {}
    for entry in loaded:
        by_uri.setdefault(entry.uri, []).append(entry)
    new = []
    for file in files:
        entries = by_uri.get(full_uri(file), [])
        if not entries:
            new.append(file)
        elif not _is_loaded(file, entries):
            if on_change == "refuse":
                raise _changed(file, entries[-1])
            if on_change == "append":
                new.append(file)
    return new


def _is_loaded(file: SourceFile, entries: Sequence[LoadedFile]) -> bool:
    """Return whether one of the entries is this file: by equal facts, else by equal size and CRC-32.

    Equal facts of a web file prove nothing if they have neither a time nor a change id. An empty folder never has one.
    """
    is_proof = file.facts.show_changes or file.name.endswith("/")
    if is_proof and any(file.facts == _facts(entry) for entry in entries):
        return True
    crcs = {entry.crc32 for entry in entries if entry.size_bytes == file.size_bytes and entry.crc32 is not None}
    content = read_content((file,)) if crcs else None
    return content is not None and content.crc32 in crcs


def _facts(entry: LoadedFile) -> FileFacts:
    return FileFacts(entry.size_bytes, entry.modified_ns, entry.change_id)


def _changed(file: SourceFile, entry: LoadedFile) -> SourceChangedError:
    before, now = _words(_facts(entry)), _words(file.facts)
    difference = f"it had {before}, and has {now}" if before != now else f"it has {now} as before, and another CRC-32"
    return SourceChangedError(
        f"{file.uri} changed after {entry.added_by} loaded it: {difference}",
        hint="load it again with --on-change append, leave it out with --on-change ignore, or load everything with "
        "--mode replace",
        file=file.uri,
        expected=list(_facts(entry)),
        actual=list(file.facts),
    )


def _words(facts: FileFacts) -> str:
    modified = "at an unknown time"
    if facts.modified_ns:
        modified = datetime.fromtimestamp(facts.modified_ns / 1e9, UTC).isoformat(sep=" ", timespec="microseconds")
    return f"{facts.size_bytes:,} bytes, modified {modified}, change id {facts.change_id or 'none'}"
