"""Files at remote addresses as files of a source: their facts, their streams, and the files below a prefix."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Final
from urllib.parse import unquote, urlsplit

from millrace.errors import UsageError
from millrace.settings import load_settings, missing_extra
from millrace.sources.io.address import OBJECT_STORES
from millrace.sources.io.remote.allowed import check_uri
from millrace.sources.io.remote.connections import connection_named
from millrace.sources.io.remote.model import UNKNOWN_SIZE, RemoteFile, RemoteFiles
from millrace.sources.io.remote.retries import POLICY
from millrace.sources.io.remote.stream import Heads, RemoteStream
from millrace.sources.model import FileFacts, SourceFile

_heads: Final = Heads()


def is_remote(uri: str) -> bool:
    """Return whether the URI of a ``SourceFile`` is a remote address."""
    return "://" in uri


def remote_file(uri: str, connection: str) -> SourceFile:
    """Return the file at an address with its present facts; its name is the last part of its path.

    Raises ``SourceNotFoundError``, ``SourceUnreadableError``, ``SourceUnavailableError``, and ``UsageError`` for an
    address that may not be loaded.
    """
    files, path = _files_at(uri, connection)
    return _source_file(uri, _base_name(uri), POLICY.run(uri, lambda: files.facts(path)), connection)


def remote_facts(file: SourceFile) -> FileFacts:
    """Return the present facts of a remote file."""
    return remote_file(file.uri, file.connection).facts


def remote_files_below(uri: str, connection: str) -> Iterator[SourceFile]:
    """Yield all files below a prefix; ``uri`` ends in "/". Their names are relative to it."""
    files, path = _files_at(uri, connection)
    root = uri.removesuffix(path)
    for file in POLICY.run(uri, lambda: list(files.list(path))):
        yield _source_file(root + file.path, file.path.removeprefix(path), file, connection)


def open_remote(file: SourceFile) -> RemoteStream:
    """Open the bytes of a remote file as a stream; each of its requests is conditional on the planned facts."""
    files, path = _files_at(file.uri, file.connection)
    size_bytes = UNKNOWN_SIZE if file.has_unknown_size else file.size_bytes
    facts = FileFacts(size_bytes, file.modified_ns, file.change_id)
    return RemoteStream(files, RemoteFile(path, facts, file.has_ranges, file.encoding), file.uri, heads=_heads)


def forget_connections() -> None:
    """Look up connections and settings again, and read beginnings of files again, when an address is used next."""
    _opened.cache_clear()
    # Some servers derive the ETag from size and time alone, and a file may be replaced within the same second.
    _heads.clear()


def _source_file(uri: str, name: str, file: RemoteFile, connection: str) -> SourceFile:
    size_bytes = max(file.facts.size_bytes, 0)
    has_ranges = file.has_ranges and file.facts.size_bytes != UNKNOWN_SIZE
    _, modified_ns, change_id = file.facts
    return SourceFile(uri, name, size_bytes, modified_ns, change_id, has_ranges, connection, file.encoding)


def _base_name(uri: str) -> str:
    if uri.partition("://")[0] in OBJECT_STORES:
        return uri.rpartition("/")[2]
    parts = urlsplit(uri)
    return unquote(parts.path.rstrip("/").rpartition("/")[2], errors="replace") or parts.netloc


def _files_at(uri: str, connection: str) -> tuple[RemoteFiles, str]:
    """Return access to the bucket or server of an address, and the path in it."""
    scheme, _, rest = uri.partition("://")
    container = re.split("[/?#]", rest, maxsplit=1)[0]
    path = rest.removeprefix(container)
    if scheme in OBJECT_STORES:
        path = path.removeprefix("/")
    return _opened(scheme, container, connection, os.getpid()), path


@lru_cache(maxsize=32)
def _opened(scheme: str, container: str, connection: str, _process: int) -> RemoteFiles:
    # Neither the pool of connections nor the threads of a client survive a fork, so each process has its own.
    settings = load_settings()
    address = f"{scheme}://{container}"
    check_uri(address, settings.sources)
    given = connection_named(connection, settings) if connection else None
    if scheme in OBJECT_STORES:
        if missing := missing_extra("sources"):
            raise UsageError(f"{scheme}:// addresses cannot be loaded: {missing}")
        from millrace.sources.io.remote.buckets import bucket_files

        return bucket_files(scheme, container, given, settings)
    from millrace.sources.io.remote.https import HttpsFiles
    from millrace.sources.io.remote.web_headers import web_headers

    return HttpsFiles(address, settings.sources, headers=web_headers(given, container) if given else {})
