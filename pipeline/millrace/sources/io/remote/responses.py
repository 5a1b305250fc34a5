"""Responses of a web server: the facts in their headers, and the errors that their statuses mean."""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Final, NamedTuple

import httpx

from millrace.errors import (
    SourceChangedError,
    SourceError,
    SourceFormatError,
    SourceNotFoundError,
    SourceUnreadableError,
)
from millrace.sources.io.remote.addresses import WebAddress
from millrace.sources.io.remote.model import UNKNOWN_SIZE, TransferInterrupted
from millrace.sources.model import FileFacts

_RANGE: Final = re.compile(r"bytes (?:([0-9]{1,18})-([0-9]{1,18})|\*)/(?:([0-9]{1,18})|\*)", re.ASCII)
_MAY_PASS: Final = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})
_EXPIRED, _OTHER_HOST, _OTHER_ADDRESS = 10, 62, 64
"""Codes of OpenSSL for the verification of a certificate."""


class ResponseMetadata(NamedTuple):
    """The status of a response and the facts of its file in its headers; ``start`` and ``length`` are of its body."""

    status: int
    facts: FileFacts
    encoding: str
    start: int
    length: int
    names_ranges: bool


def read_metadata(status: int, headers: httpx.Headers) -> ResponseMetadata:
    """Return the metadata of a response with the status 200, 206 or 416; a missing size or length is -1."""
    length = _number(headers.get("content-length"))
    start, size = 0, length
    if status != HTTPStatus.OK:
        start, size = _content_range(headers.get("content-range", ""))
    facts = FileFacts(size, _modified_ns(headers), _strong_etag(headers))
    names_ranges = headers.get("accept-ranges", "").strip().lower() == "bytes"
    return ResponseMetadata(status, facts, _encoding(headers), start, length, names_ranges)


def _number(text: str | None) -> int:
    return int(text) if text is not None and re.fullmatch("[0-9]{1,18}", text.strip(), re.ASCII) else UNKNOWN_SIZE


def _content_range(text: str) -> tuple[int, int]:
    """Return the first byte of a range and the size of the file, each -1 if it is not named."""
    match = _RANGE.fullmatch(text.strip())
    return (_number(match[1]), _number(match[3])) if match else (UNKNOWN_SIZE, UNKNOWN_SIZE)


def _strong_etag(headers: Mapping[str, str]) -> str:
    etag = headers.get("etag", "").strip()
    return etag if etag.startswith('"') and etag.endswith('"') and len(etag) > 1 else ""


def _modified_ns(headers: Mapping[str, str]) -> int:
    try:
        return int(parsedate_to_datetime(headers.get("last-modified", "")).timestamp()) * 1_000_000_000
    except (ValueError, OverflowError):
        return 0


def _encoding(headers: Mapping[str, str]) -> str:
    names = [name.strip().lower() for name in headers.get("content-encoding", "").split(",")]
    names = [{"x-gzip": "gzip"}.get(name, name) for name in names if name not in ("", "identity")]
    return ", ".join(names)


def check_encoding(address: WebAddress, encoding: str) -> None:
    """Raise ``SourceFormatError`` for a ``Content-Encoding`` that is not decoded: several, or an unknown one."""
    if encoding not in ("", "gzip"):
        shown = encoding[:80] if encoding.isprintable() else "an encoding that is not text"
        raise SourceFormatError(
            f"{address} has the Content-Encoding {shown}",
            hint="let the server send it as it is, or with gzip once",
            file=str(address),
        )


def status_error(status: int, address: WebAddress) -> SourceError | TransferInterrupted:
    """Return the error for a response without the file; ``TransferInterrupted`` for one that may pass."""
    if status in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
        return SourceNotFoundError(f"{address} does not exist (status {status})", hint="check the URL")
    if status == HTTPStatus.UNAUTHORIZED:
        hint = "name a connection with a valid login or token"
        return SourceUnreadableError(f"{address} requires credentials (status 401)", hint=hint)
    if status == HTTPStatus.FORBIDDEN:
        hint = "name a connection that has access to it"
        return SourceUnreadableError(f"{address} refuses access (status 403)", hint=hint)
    if status == HTTPStatus.PRECONDITION_FAILED:
        return changed_error(address)
    if status in _MAY_PASS or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return TransferInterrupted(f"the server responds with the status {status}")
    return SourceUnreadableError(f"{address} has no file (status {status})", hint="check the URL in a browser")


def changed_error(address: WebAddress) -> SourceChangedError:
    """Return the error for a file that is not the planned one."""
    return SourceChangedError(
        f"{address} changed after the load was planned",
        hint="load it again when nothing writes to it",
        file=str(address),
    )


def transport_error(error: httpx.TransportError, address: WebAddress) -> SourceError | TransferInterrupted:
    """Return the error for a request without a complete metadata."""
    failure = _tls_error(error)
    if isinstance(error, httpx.ConnectError) and failure:
        return SourceUnreadableError(f"{address} cannot be read: {_tls_reason(failure, address)}", hint=_TLS_HINT)
    if isinstance(error, httpx.LocalProtocolError | httpx.UnsupportedProtocol):
        return SourceUnreadableError(f"{address} cannot be read: the request is not valid HTTP", hint=_HEADER_HINT)
    return TransferInterrupted(
        _INTERRUPTIONS.get(type(error), "the connection was closed before the end of the response")
    )


_INTERRUPTIONS: Final[dict[type[httpx.TransportError], str]] = {
    httpx.ConnectError: "the server cannot be reached",
    httpx.ConnectTimeout: "the server does not accept the connection in time",
    httpx.ReadTimeout: "the server sends nothing or too little in time",
}
_TLS_HINT: Final = "the owner of the server must correct this; SSL_CERT_FILE names the authorities that are trusted"
_HEADER_HINT: Final = "check the headers of its connection"


def _tls_error(error: BaseException) -> ssl.SSLError | None:
    """Return the error of TLS that caused an error, except for a connection that was closed."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLError):
        cause = cause.__cause__ or cause.__context__
    return None if isinstance(cause, ssl.SSLEOFError | ssl.SSLZeroReturnError) else cause


def _tls_reason(error: ssl.SSLError, address: WebAddress) -> str:
    if not isinstance(error, ssl.SSLCertVerificationError):
        return "the server and this client have no version of TLS in common"
    if error.verify_code == _EXPIRED:
        return "its certificate has expired"
    if error.verify_code in (_OTHER_HOST, _OTHER_ADDRESS):
        return f"its certificate is for another host than {address.host}"
    return f"its certificate is not trusted ({error.verify_message})"
