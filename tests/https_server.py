"""A local web server with a certificate of its own authority, which counts connections and has faults on demand."""

from __future__ import annotations

import re
import socket
import ssl
import struct
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import trustme

HOSTS = ("127.0.0.1", "127.0.0.2", "localhost", "files.example", "other.example")
_PIECE_BYTES = 1 << 14


@dataclass(slots=True)
class WebFile:
    """One file of the server, with the faults of its responses."""

    content: bytes = b""
    etag: str | None = '"v1"'
    modified: str | None = "Sat, 28 Nov 2026 10:00:00 GMT"
    has_ranges: bool = True
    allows_head: bool = True
    names_length_0_in_head: bool = False
    """Whether responses to HEAD have the length 0, as those of some servers do."""
    has_length: bool = True
    """Whether responses name their length; without it they are sent in chunks."""
    headers: dict[str, str] = field(default_factory=dict)
    """Further headers of each response, which replace those of the same name."""
    statuses: deque[int] = field(default_factory=deque)
    """The statuses of the next responses to GET, in place of the file."""
    resets: deque[int] = field(default_factory=deque)
    """Offsets in the file; the next responses to GET that reach one are cut there by a reset of the connection."""
    length_errors: deque[int] = field(default_factory=deque)
    """The errors of ``Content-Length`` in the next responses to GET, in bytes."""
    replacement: WebFile | None = None
    """The file that later responses send, from the moment when half of a response is sent."""
    bytes_per_s: int = 0
    silence_s: float = 0
    """The time between the headers and the body of an metadata."""
    is_endless: bool = False
    header_drip_s: float = 0
    """The time between two bytes of headers that never end."""


class Received(NamedTuple):
    """A request that arrived, with its headers in lower case."""

    method: str
    path: str
    headers: dict[str, str]


class HttpsServer:
    """The server; ``files`` are by path, ``redirects`` have the location by path."""

    def __init__(self, certificate: trustme.LeafCert, address: str = "127.0.0.1") -> None:
        self.files: dict[str, WebFile] = {}
        self.redirects: dict[str, str] = {}
        self.required: dict[str, str] = {}
        """Headers without which each response is 401."""
        self.connections = 0
        self.requests: list[Received] = []
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(self._tls)
        self._server = _Server(self, self._tls, (address, 0))
        self.address, self.port = address, int(self._server.server_address[1])

    def url(self, path: str = "", host: str | None = None) -> str:
        """Return the URL of a path, by default with the IP address as the host."""
        return f"https://{host or self.address}:{self.port}{path}"

    @property
    def entry(self) -> str:
        """Return the entry of ``MILLRACE_SOURCES__HOSTS`` that allows this server by its IP address."""
        return f"{self.address}:{self.port}=127.0.0.0/8"

    def start(self) -> None:
        """Accept connections in a thread."""
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self) -> None:
        """End the thread and close all connections."""
        self._server.shutdown()
        self._server.server_close()


@dataclass(frozen=True, slots=True)
class Authority:
    """The authority of the servers' certificates."""

    ca: trustme.CA = field(default_factory=trustme.CA)

    def client_context(self) -> ssl.SSLContext:
        """Return a context that trusts this authority only."""
        return ssl.create_default_context(cadata=self.ca.cert_pem.bytes().decode())

    def write(self, path: Path) -> Path:
        """Write the certificate of the authority, for ``SSL_CERT_FILE``; return the path."""
        self.ca.cert_pem.write_to_path(path)
        return path

    @contextmanager
    def server(
        self, *hosts: str, address: str = "127.0.0.1", not_after: datetime | None = None
    ) -> Iterator[HttpsServer]:
        """Run a server whose certificate is for ``hosts`` (default: all of ``HOSTS``), until the block ends."""
        certificate = self.ca.issue_cert(*(hosts or HOSTS), not_after=not_after)
        server = HttpsServer(certificate, address)
        server.start()
        try:
            yield server
        finally:
            server.stop()


YESTERDAY = datetime.now(UTC) - timedelta(days=1)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, owner: HttpsServer, tls: ssl.SSLContext, address: tuple[str, int]) -> None:
        self.owner, self._tls = owner, tls
        self._open: set[socket.socket] = set()
        super().__init__(address, _Handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, client = super().get_request()
        self.owner.connections += 1
        self._open.add(connection)
        return self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False), client

    def finish_request(self, request: Any, client_address: Any) -> None:
        request.settimeout(10)
        request.do_handshake()
        super().finish_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore the errors of connections that a client closed, or whose certificate it refused."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        """Write no log."""

    def do_HEAD(self) -> None:
        self._metadata()

    def do_GET(self) -> None:
        self._metadata()

    def _metadata(self) -> None:
        owner = self.server.owner
        headers = {name.lower(): value for name, value in self.headers.items()}
        owner.requests.append(Received(self.command, self.path, headers))
        if location := owner.redirects.get(self.path):
            self._send_status(302, {"Location": location})
        elif any(headers.get(name) != value for name, value in owner.required.items()):
            self._send_status(401)
        elif (file := owner.files.get(self.path)) is None:
            self._send_status(404)
        elif self.command == "HEAD" and not file.allows_head:
            self._send_status(405)
        elif self.command == "GET" and file.statuses:
            self._send_status(file.statuses.popleft())
        elif not _meets_conditions(file, headers):
            self._send_status(412)
        elif file.header_drip_s:
            self._drip_header(file.header_drip_s)
        else:
            self._send_file(file, headers.get("range", ""))

    def _drip_header(self, seconds: float) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Padding: ")
        while True:
            self.wfile.write(b"x")
            time.sleep(seconds)

    def _send_status(self, status: int, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": "0", **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()

    def _send_file(self, file: WebFile, asked: str) -> None:
        start, stop, status = 0, len(file.content), 200
        if file.has_ranges and (match := re.fullmatch(r"bytes=(\d+)-(\d*)", asked)):
            start, stop = int(match[1]), min(int(match[2] or stop) + bool(match[2]), stop)
            status = 206 if start < stop else 416
        headers = {"ETag": file.etag, "Last-Modified": file.modified}
        headers |= {"Content-Length": str(stop - start)} if file.has_length else {"Transfer-Encoding": "chunked"}
        if file.has_ranges:
            headers |= {"Accept-Ranges": "bytes"}
        if self.command == "HEAD" and file.names_length_0_in_head:
            headers |= {"Content-Length": "0"}
        if status == 206:
            headers |= {"Content-Range": f"bytes {start}-{stop - 1}/{len(file.content)}"}
        if status == 416:
            self._send_status(416, {"Content-Range": f"bytes */{len(file.content)}"})
            return
        has_wrong_length = self.command == "GET" and bool(file.length_errors)
        if has_wrong_length:
            headers |= {"Content-Length": str(stop - start + file.length_errors.popleft())}
        self.send_response(status)
        for name, value in {**headers, **file.headers}.items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()
        self.close_connection = "Content-Length" in file.headers or not file.has_length or has_wrong_length
        if self.command == "GET":
            self._send_body(file, start, stop)

    def _send_body(self, file: WebFile, start: int, stop: int) -> None:
        is_chunked = not file.has_length
        time.sleep(file.silence_s)
        piece_bytes = min(_PIECE_BYTES, file.bytes_per_s // 10 or _PIECE_BYTES)
        position = start
        while position < stop or file.is_endless:
            if file.resets and start <= file.resets[0] <= position:
                file.resets.popleft()
                self._reset()
                return
            end = min(position + piece_bytes, stop) if not file.is_endless else position + piece_bytes
            if file.resets and position < file.resets[0] < end:
                end = file.resets[0]
            piece = file.content[position:end] if not file.is_endless else b"x" * piece_bytes
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if is_chunked else piece)
            position = end
            if file.replacement and position >= (start + stop) // 2:
                self.server.owner.files[self.path] = file.replacement
            if file.bytes_per_s:
                time.sleep(len(piece) / file.bytes_per_s)
        if is_chunked:
            self.wfile.write(b"0\r\n\r\n")

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()


def _meets_conditions(file: WebFile, headers: dict[str, str]) -> bool:
    if "if-match" in headers:
        return headers["if-match"] == file.etag
    return headers.get("if-unmodified-since", file.modified) == file.modified
