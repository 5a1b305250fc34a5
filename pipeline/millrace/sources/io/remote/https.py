"""Files of web servers, read by ``https://`` from the addresses that were checked.

Each request resolves its host once, and goes to one of these addresses. The certificate must be for the
name of the host. No proxy, cookie or password file of the environment is used.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from email.utils import formatdate
from http import HTTPStatus
from typing import Final
from urllib.parse import urljoin

import httpx

from millrace.errors import SourceUnreadableError, UsageError
from millrace.settings import SourcesSettings
from millrace.sources.io.remote.addresses import (
    Resolve,
    WebAddress,
    parse_url,
    refuse_credentials,
    refuse_odd_characters,
    resolve,
)
from millrace.sources.io.remote.allowed import check_listed, checked_addresses
from millrace.sources.io.remote.bodies import TransferLimits, body_pieces, interruptions_reported
from millrace.sources.io.remote.deadlines import with_deadlines, within
from millrace.sources.io.remote.model import UNKNOWN_SIZE, RemoteFile
from millrace.sources.io.remote.responses import (
    ResponseMetadata,
    changed_error,
    check_encoding,
    read_metadata,
    status_error,
)

REDIRECTS_MAX: Final = 3
_ADDRESSES_TRIED_MAX: Final = 4
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_HEAD_REFUSED: Final = frozenset({400, 403, 405, 406, 501})
_OWN_HEADERS: Final = {"user-agent": "millrace", "accept": "*/*", "accept-encoding": "identity"}


class HttpsFiles:
    """The files at URLs that begin with ``address``; a ``path`` is the rest of a URL.

    ``headers`` hold the credentials of a connection. They are sent to the host and port of ``address`` only. Raises
    ``UsageError`` for an address that is not allowed.
    """

    def __init__(
        self,
        address: str,
        settings: SourcesSettings,
        *,
        headers: Mapping[str, str] | None = None,
        limits: TransferLimits = TransferLimits(),  # noqa: B008  (immutable)
        resolve_host: Resolve = resolve,
        new_transport: Callable[[], httpx.BaseTransport] | None = None,
    ) -> None:
        refuse_credentials(address)
        self._address, self._first = address, parse_url(address)
        check_listed(self._first, settings)
        self._settings, self._limits, self._resolve_host = settings, limits, resolve_host
        self._headers = _ascii_headers(headers or {})
        self._new_transport = new_transport or _new_transport
        # A connection is used again for the same host only, because its certificate was checked for that name.
        self._transports: dict[str, httpx.BaseTransport] = {}
        self.close = weakref.finalize(self, _close_all, self._transports)

    def list(self, path: str) -> Iterator[RemoteFile]:
        """Raise ``UsageError``, because a web server has no list of its files."""
        raise UsageError(
            f"{self._first} cannot be listed: a web server has no list of its files", hint="give the URL of each file"
        )

    def facts(self, path: str) -> RemoteFile:
        """Return the present facts of one file, by a request without its body or for its first byte.

        Several responses without an ``ETag`` and a ``Last-Modified`` may be of different contents. Such a file counts
        as one without ranges, which is read by one response. Raises the errors of ``RemoteFiles.facts``, and
        ``SourceFormatError`` for a ``Content-Encoding`` that is not decoded.
        """
        metadata = self._head(path)
        has_ranges = metadata is not None and metadata.names_ranges
        # Some servers respond to HEAD with the length 0, which is then not that of the file.
        if metadata is None or metadata.facts.size_bytes in (UNKNOWN_SIZE, 0) or not has_ranges:
            metadata = self._first_byte(path)
            # A response with the whole file shows that there are no ranges, even if it names them.
            has_ranges = metadata.status == HTTPStatus.PARTIAL_CONTENT
        return RemoteFile(path, metadata.facts, has_ranges and metadata.facts.show_changes, metadata.encoding)

    def _head(self, path: str) -> ResponseMetadata | None:
        with self._request("HEAD", path) as (response, address), interruptions_reported(address):
            response.read()  # it has no body; the connection can be used again
            return None if response.status_code in _HEAD_REFUSED else _metadata(response, address)

    def _first_byte(self, path: str) -> ResponseMetadata:
        with self._request("GET", path, {"range": "bytes=0-0"}) as (response, address):
            if response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                metadata = read_metadata(response.status_code, response.headers)
                if metadata.facts.size_bytes == 0:
                    return metadata
            return _metadata(response, address)

    def read(self, file: RemoteFile, start: int, stop: int) -> Iterator[bytes]:
        """Yield the bytes ``start`` to ``stop`` of a file, as ``RemoteFiles.read`` does."""
        if start == stop:
            return
        with self._request("GET", file.path, _conditions(file, start, stop)) as (response, address):
            if response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                raise changed_error(address)
            metadata = _metadata(response, address)
            _check_same(file, metadata, address)
            _check_range(start, metadata, address)
            end = file.facts.size_bytes if stop == UNKNOWN_SIZE else stop
            expected_bytes = UNKNOWN_SIZE if end == UNKNOWN_SIZE else end - start
            yield from body_pieces(response, metadata, expected_bytes, address, self._limits)

    @contextmanager
    def _request(
        self, method: str, path: str, headers: Mapping[str, str] | None = None
    ) -> Iterator[tuple[httpx.Response, WebAddress]]:
        """Send a request, follow its redirects, and close the response at the end; each address is checked before."""
        url = self._address + path
        refuse_credentials(url)
        address, first = parse_url(url), parse_url(url)
        for _ in range(REDIRECTS_MAX + 1):
            response = self._send(method, address, headers or {})
            try:
                if response.status_code not in _REDIRECTS:
                    yield response, address
                    return
                url = _redirect_url(response, url, address)
            finally:
                response.close()
            address = self._redirected(url, first)
        raise SourceUnreadableError(f"{first} redirects more than {REDIRECTS_MAX} times", hint="give its final URL")

    def _redirected(self, url: str, first: WebAddress) -> WebAddress:
        try:
            address = parse_url(url)
            check_listed(address, self._settings)
        except UsageError as error:
            raise _refused_redirect(first, error) from None
        return address

    def _send(self, method: str, address: WebAddress, headers: Mapping[str, str]) -> httpx.Response:
        is_own = (address.host, address.port) == (self._first.host, self._first.port)
        all_headers = httpx.Headers(self._headers if is_own else {})
        all_headers.update({**_OWN_HEADERS, **headers, "host": address.authority})
        ip_addresses = checked_addresses(address, self._settings, self._resolve_host)[:_ADDRESSES_TRIED_MAX]
        requests = [
            httpx.Request(
                method,
                httpx.URL(scheme="https", host=ip_address, port=address.port, raw_path=address.target.encode()),
                headers=all_headers,
                extensions={"timeout": self._limits.timeouts(), "sni_hostname": address.host},
            )
            for ip_address in ip_addresses
        ]
        transport = self._transport(address.host)
        with interruptions_reported(address):
            for request in requests[:-1]:
                with suppress(httpx.ConnectError, httpx.ConnectTimeout), within(self._limits.read_s):
                    return transport.handle_request(request)
            with within(self._limits.read_s):
                return transport.handle_request(requests[-1])

    def _transport(self, host: str) -> httpx.BaseTransport:
        if host not in self._transports:
            self._transports[host] = self._new_transport()
        return self._transports[host]


def _new_transport() -> httpx.BaseTransport:
    return httpx.HTTPTransport(verify=with_deadlines(httpx.create_ssl_context()), trust_env=False)


def _close_all(transports: dict[str, httpx.BaseTransport]) -> None:
    while transports:
        transports.popitem()[1].close()


def _ascii_headers(headers: Mapping[str, str]) -> httpx.Headers:
    try:
        return httpx.Headers([(name.encode("ascii"), value.encode("ascii")) for name, value in headers.items()])
    except UnicodeError:
        raise UsageError(
            "a header of the connection is not ASCII", hint="write its value in ASCII characters"
        ) from None


def _redirect_url(response: httpx.Response, url: str, address: WebAddress) -> str:
    location: str = response.headers.get("location", "")
    try:
        refuse_odd_characters(location)
        return urljoin(url, location)
    except (UsageError, ValueError):
        raise _refused_redirect(address, UsageError("the text is not a URL", hint="give its final URL")) from None


def _refused_redirect(address: WebAddress, reason: UsageError) -> SourceUnreadableError:
    return SourceUnreadableError(f"{address} is redirected, and that is refused: {reason.message}", hint=reason.hint)


def _conditions(file: RemoteFile, start: int, stop: int) -> dict[str, str]:
    """Return the headers that make a request conditional on the facts of a file, and ask for a range if it has some."""
    headers = {}
    if file.facts.change_id:
        headers["if-match"] = file.facts.change_id
    elif file.facts.modified_ns:
        headers["if-unmodified-since"] = formatdate(file.facts.modified_ns // 1_000_000_000, usegmt=True)
    if file.has_ranges:
        headers["range"] = f"bytes={start}-{'' if stop == UNKNOWN_SIZE else stop - 1}"
    return headers


def _metadata(response: httpx.Response, address: WebAddress) -> ResponseMetadata:
    """Return the metadata of a response that has the file or a range of it; raise the error of its status otherwise."""
    if response.status_code not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
        raise status_error(response.status_code, address)
    metadata = read_metadata(response.status_code, response.headers)
    check_encoding(address, metadata.encoding)
    return metadata


def _check_same(file: RemoteFile, metadata: ResponseMetadata, address: WebAddress) -> None:
    """Raise ``SourceChangedError`` unless a response names the planned facts; an unknown size equals any other."""
    sizes = {file.facts.size_bytes, metadata.facts.size_bytes} - {UNKNOWN_SIZE}
    planned = (file.facts.modified_ns, file.facts.change_id, file.encoding)
    present = (metadata.facts.modified_ns, metadata.facts.change_id, metadata.encoding)
    if len(sizes) > 1 or present != planned:
        raise changed_error(address)


def _check_range(start: int, metadata: ResponseMetadata, address: WebAddress) -> None:
    if metadata.start != start:
        raise SourceUnreadableError(
            f"{address} responds with another range of bytes than the requested one",
            hint="download the file, and load the copy",
        )
