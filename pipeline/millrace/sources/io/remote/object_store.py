"""Objects of one bucket of S3 or Google Cloud Storage, read through obstore.

obstore is imported when it is used, because it belongs to the extra ``sources``. Its own retries are switched off,
because ``RemoteStream`` retries and continues at the byte reached.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from millrace.errors import (
    SourceChangedError,
    SourceError,
    SourceFormatError,
    SourceNotFoundError,
    SourceUnreadableError,
)
from millrace.sources.io.remote.model import PIECE_BYTES_MAX, RemoteFile, TransferInterrupted
from millrace.sources.model import FileFacts

if TYPE_CHECKING:
    from obstore import GetOptions

CLIENT_OPTIONS: Final = {
    "connect_timeout": timedelta(seconds=10),
    "read_timeout": timedelta(seconds=20),
    # The body of a large range is read for as long as its reader takes; the timeout of each read is above.
    "timeout": timedelta(days=1),
    "pool_max_idle_per_host": "8",
}
RETRY_OPTIONS: Final = {"max_retries": 0, "retry_timeout": timedelta(seconds=30)}
_LISTED_AT_ONCE: Final = 1_000
_NO_ENCODINGS: Final = frozenset({"", "identity", "aws-chunked"})
_ENCODINGS: Final = frozenset({"gzip", "zstd"})
"""Values of ``Content-Encoding`` that are decoded, by the first bytes of the object."""
_STATUS: Final = re.compile(r"non-2xx status code: ([0-9]{3})")
_TLS: Final = re.compile(r"certificate|InvalidCertificate|UnknownIssuer|NotValidForName", re.IGNORECASE)
_TRANSIENT: Final = frozenset({408, 425, 429})


class ObjectFiles:
    """The objects of one bucket; paths are keys. ``address`` is that of the bucket, such as ``s3://flights``.

    ``hint`` is the remedy where access is refused. ``new_store`` makes the store when it is first used.
    """

    def __init__(self, new_store: Callable[[], Any], address: str, hint: str) -> None:
        self._new_store = new_store
        self._store: Any = None
        self._address = address
        self._hint = hint

    def list(self, path: str) -> Iterator[RemoteFile]:
        """Yield all objects below a prefix, by one request for each 1,000 of them."""
        import obstore

        prefix = path.rstrip("/")
        with self._errors(path):
            for page in obstore.list(self._opened(), prefix=prefix or None, chunk_size=_LISTED_AT_ONCE):
                yield from (RemoteFile(entry["path"], _facts(entry)) for entry in page if entry["path"] != prefix)

    def facts(self, path: str) -> RemoteFile:
        """Return the present facts of one object."""
        import obstore

        with self._errors(path):
            answer = obstore.get(self._opened(), path, options={"head": True})
        return RemoteFile(path, _facts(answer.meta), encoding=self._encoding(path, answer.attributes))

    def read(self, file: RemoteFile, start: int, stop: int) -> Iterator[bytes]:
        """Yield the bytes ``start`` to ``stop`` of an object, by one request that is conditional on its ETag."""
        import obstore

        options: GetOptions = {"range": (start, stop)}
        if file.facts.change_id:
            options["if_match"] = file.facts.change_id
        with self._errors(file.path):
            answer = obstore.get(self._opened(), file.path, options=options)
            if _facts(answer.meta) != file.facts:
                raise self._changed(file.path)
            self._encoding(file.path, answer.attributes)
            if answer.range != (start, stop):
                raise TransferInterrupted("its server sent another range than was asked for")
            for piece in answer.stream(min_chunk_size=1):
                data = bytes(piece)
                yield from (data[cut : cut + PIECE_BYTES_MAX] for cut in range(0, len(data), PIECE_BYTES_MAX))

    def _opened(self) -> Any:
        from obstore import exceptions

        if self._store is None:
            try:
                self._store = self._new_store()
            except (exceptions.BaseError, ValueError):
                message = f"{self._address} cannot be read: its endpoint or its credentials are not valid"
                raise SourceUnreadableError(message, hint=self._hint) from None
        return self._store

    def _encoding(self, path: str, attributes: Mapping[str, Any]) -> str:
        encoding = str(attributes.get("Content-Encoding", "")).strip().lower()
        if encoding in _NO_ENCODINGS:
            return ""
        if encoding not in _ENCODINGS:
            raise SourceFormatError(
                f"{self._named(path)} has the Content-Encoding {encoding[:80]!r}, which is not supported",
                hint="store it plain or as gzip",
            )
        return encoding

    def _named(self, path: str) -> str:
        return f"{self._address}/{path}"

    def _changed(self, path: str) -> SourceChangedError:
        return SourceChangedError(
            f"{self._named(path)} changed after the load was planned",
            hint="load it again when nothing writes to it",
            file=self._named(path),
        )

    @contextmanager
    def _errors(self, path: str) -> Iterator[None]:
        """Raise the errors of this project for those of obstore, whose texts may be long and have URLs in them."""
        from obstore import exceptions

        try:
            yield
        except exceptions.PreconditionError:
            raise self._changed(path) from None
        except (exceptions.InvalidPathError, ValueError):
            raise SourceUnreadableError(
                f"{self._named(path)} cannot be read: a part of an object's path is empty, . or ..", hint="rename it"
            ) from None
        except FileNotFoundError:
            raise SourceNotFoundError(f"{self._named(path)} does not exist", hint="check bucket and path") from None
        except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError):
            raise self._refused(path, 403) from None
        except exceptions.BaseError as error:
            raise self._failure(path, str(error)) from None

    def _refused(self, path: str, status: int) -> SourceUnreadableError:
        message = f"{self._named(path)} cannot be read: access is refused ({status})"
        return SourceUnreadableError(message, hint=self._hint)

    def _failure(self, path: str, text: str) -> SourceError | TransferInterrupted:
        status = int(match[1]) if (match := _STATUS.search(text)) else 0
        if status in (401, 403):
            return self._refused(path, status)
        if status == 404:
            return SourceNotFoundError(f"{self._named(path)} does not exist", hint="check bucket and path")
        if 400 > status >= 300 or "without LOCATION" in text:
            return SourceUnreadableError(
                f"{self._address} is in another region (status {status or 301})",
                hint="give region_name in the extras of the connection, or AWS_REGION",
            )
        if status and status < 500 and status not in _TRANSIENT:
            return SourceUnreadableError(f"{self._named(path)} cannot be read: status {status}", hint=self._hint)
        if "credential" in text.lower() and not status:
            return SourceUnreadableError(f"{self._address} cannot be read: there are no credentials", hint=self._hint)
        if _TLS.search(text):
            return SourceUnreadableError(
                f"{self._address} cannot be read: the certificate of its server is not valid", hint="check the endpoint"
            )
        return TransferInterrupted(f"status {status}" if status else _reason(text))


def _reason(text: str) -> str:
    reasons = {"timed out": "timeout", "timeout": "timeout", "dns": "its host has no address", "reset": "reset"}
    return next((reason for word, reason in reasons.items() if word in text.lower()), "the connection failed")


def _facts(meta: Mapping[str, Any]) -> FileFacts:
    """Return the facts of an object; the time is cut to seconds, because answers other than lists have no fraction."""
    etag = meta.get("e_tag") or ""
    is_strong = etag.startswith('"')
    change_id = etag if is_strong else meta.get("version") or ""
    return FileFacts(int(meta["size"]), int(meta["last_modified"].timestamp()) * 1_000_000_000, change_id)
