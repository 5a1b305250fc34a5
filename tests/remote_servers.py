"""Servers of object stores for tests: S3 (moto with authorisation), Google's emulator, and a proxy with faults."""

from __future__ import annotations

import http.client
import json
import math
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qsl, quote, unquote, urlsplit
from uuid import uuid4
from xml.sax.saxutils import escape

BUCKET = "lake"
_RESET = struct.pack("ii", 1, 0)


class Reset(Exception):
    """The connection ends here by a reset, which drops the bytes that its socket still holds."""


class Close(Exception):
    """The connection ends here, after all bytes that were written."""


Write = Callable[[bytes], None]
Fault = Callable[["Answer", Write], None]
"""A function that sends the body of an answer; it may change its status and headers before it sends the first byte."""


@dataclass
class Answer:
    """The answer of the server behind the proxy."""

    status: int
    headers: dict[str, str]
    body: bytes


def send_whole(answer: Answer, write: Write) -> None:
    write(answer.body)


def status_503(answer: Answer, write: Write) -> None:
    answer.status, answer.headers, answer.body = 503, {"Content-Length": "0"}, b""
    write(b"")


def reset_after(count: int) -> Fault:
    """Send at most ``count`` bytes and never the last one, so that the reader always has to ask again."""

    def fault(answer: Answer, write: Write) -> None:
        write(answer.body[:-1][:count])
        raise Reset

    return fault


def too_long(answer: Answer, write: Write) -> None:
    """Name one byte more than the body has, send the body, and end the connection.

    The whole body arrives. So a reader of the last range of an object has all bytes, and does not ask again.
    """
    answer.headers["Content-Length"] = str(len(answer.body) + 1)
    write(answer.body)
    # A reset would drop as much of the body as its socket still holds, which depends on the load of the machine.
    raise Close


def slow(bytes_per_s: int) -> Fault:
    def fault(answer: Answer, write: Write) -> None:
        for start in range(0, len(answer.body), bytes_per_s // 4):
            write(answer.body[start : start + bytes_per_s // 4])
            time.sleep(0.25)

    return fault


def call_after(count: int, call: Callable[[], Any]) -> Fault:
    """Send ``count`` bytes, call the function, and send the rest."""

    def fault(answer: Answer, write: Write) -> None:
        write(answer.body[:count])
        call()
        write(answer.body[count:])

    return fault


@dataclass
class Proxy:
    """A reverse proxy on a free port of 127.0.0.1; each of ``faults`` is used for one GET of a body, in their order."""

    upstream: str
    faults: list[Fault] = field(default_factory=list)
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    url: str = ""

    @property
    def port(self) -> int:
        return urlsplit(self.url).port or 0

    def count(self, method: str, part: str = "") -> int:
        return sum(one == method and part in path for one, path, _ in self.requests)

    @contextmanager
    def running(self) -> Iterator[Self]:
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        server.daemon_threads = True
        self.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        return self.forward(method, path, headers, body)

    def forward(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        """Return the answer of the server behind the proxy."""
        parts = urlsplit(self.upstream)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
        try:
            connection.request(method, path, body=body or None, headers=headers)
            response = connection.getresponse()
            return Answer(response.status, dict(response.getheaders()), response.read())
        finally:
            connection.close()


def _handler(proxy: Proxy) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_request(self) -> None:
            headers = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            proxy.requests.append((self.command, self.path, headers))
            answer = proxy.answer(self.command, self.path, headers, body)
            is_body = self.command == "GET" and answer.status in (200, 206) and "list-type" not in self.path
            fault = proxy.faults.pop(0) if proxy.faults and is_body and "prefix=" not in self.path else send_whole
            self.sent = False
            try:
                fault(answer, lambda data: self.send(answer, data))
            except Reset:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                self.close_connection = True
            except (Close, OSError):
                self.close_connection = True

        def send(self, answer: Answer, data: bytes) -> None:
            if not self.sent:
                self.sent = True
                self.send_response_only(answer.status)
                names = {name.lower() for name in answer.headers}
                for name, value in answer.headers.items():
                    if name.lower() not in ("connection", "transfer-encoding"):
                        self.send_header(name, value)
                if "content-length" not in names:
                    self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)
                self.wfile.flush()

        def log_message(self, format: str, *args: Any) -> None:
            """Print nothing."""

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_request

    return Handler


@dataclass
class S3Server:
    """A server with one bucket ``lake``, one user who may read it, and a proxy in front of it."""

    proxy: Proxy
    client: Any
    key: str
    secret: str

    def put(self, name: str, data: bytes, **facts: Any) -> str:
        """Store an object; return its address."""
        self.client.put_object(Bucket=BUCKET, Key=name, Body=data, **facts)
        return f"s3://{BUCKET}/{name}"

    def put_many(self, prefix: str, count: int) -> None:
        """Store small objects without requests, which would take minutes."""
        from moto.core import DEFAULT_ACCOUNT_ID
        from moto.s3.models import s3_backends

        backend = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
        for number in range(count):
            backend.put_object(BUCKET, f"{prefix}{number}.csv", b"a\n1\n")

    def connection(self, *, secret: str | None = None) -> str:
        """Return the JSON of an Airflow connection to the proxy."""
        extra = {"region_name": "us-east-1", "endpoint_url": self.proxy.url}
        fields = {"conn_type": "aws", "login": self.key, "password": secret or self.secret, "extra": extra}
        return json.dumps(fields)

    def clear(self) -> None:
        """Remove all objects, faults and counts."""
        from moto.core import DEFAULT_ACCOUNT_ID
        from moto.s3.models import s3_backends

        s3_backends[DEFAULT_ACCOUNT_ID]["aws"].buckets[BUCKET].keys.clear()
        self.proxy.faults.clear()
        self.proxy.requests.clear()


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """Run moto's server with its authorisation on, on a free port of 127.0.0.1."""
    import boto3
    from moto import settings
    from moto.core.authorization import ActionAuthenticatorMixin
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    # Its users and buckets belong to the process, in which another server may be running with authorisation on.
    before = settings.INITIAL_NO_AUTH_ACTION_COUNT
    settings.INITIAL_NO_AUTH_ACTION_COUNT = math.inf
    try:
        host, port = server.get_host_and_port()
        url = f"http://{host}:{port}"
        key, secret = _user(boto3, url)
        access = {"aws_access_key_id": key, "aws_secret_access_key": secret}
        client = boto3.client("s3", endpoint_url=url, region_name="us-east-1", **access)
        if BUCKET not in {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}:
            client.create_bucket(Bucket=BUCKET)
        settings.INITIAL_NO_AUTH_ACTION_COUNT, ActionAuthenticatorMixin.request_count = 0.0, 0
        with Proxy(url).running() as proxy:
            yield S3Server(proxy, client, key, secret)
    finally:
        settings.INITIAL_NO_AUTH_ACTION_COUNT = before
        server.stop()


def _user(boto3: Any, url: str) -> tuple[str, str]:
    access = {"aws_access_key_id": "first", "aws_secret_access_key": "first"}
    users = boto3.client("iam", endpoint_url=url, region_name="us-east-1", **access)
    name = f"loader-{uuid4().hex}"
    users.create_user(UserName=name)
    statement = {"Effect": "Allow", "Action": "*", "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    users.put_user_policy(UserName=name, PolicyName="all", PolicyDocument=policy)
    made = users.create_access_key(UserName=name)["AccessKey"]
    return made["AccessKeyId"], made["SecretAccessKey"]


@dataclass
class GoogleServer:
    """An emulator of Google Cloud Storage with the bucket ``lake``, behind a proxy that adds lists and conditions."""

    proxy: GoogleProxy

    def put(self, name: str, data: bytes, **_: Any) -> str:
        """Store an object; return its address."""
        path = f"/upload/storage/v1/b/{BUCKET}/o?uploadType=media&name={quote(name, safe='')}"
        answer = self.proxy.forward("POST", path, {"Content-Type": "application/octet-stream"}, data)
        assert answer.status == 200, answer
        return f"gs://{BUCKET}/{name}"

    def connection(self, *, secret: str | None = None) -> str:
        """Return the JSON of an Airflow connection to the proxy."""
        key = {"gcs_base_url": self.proxy.url, "disable_oauth": True, "client_email": "a@b.example"}
        key |= {"private_key": "none", "private_key_id": "none"}
        return json.dumps({"conn_type": "google_cloud_platform", "extra": {"keyfile_dict": key}})

    def clear(self) -> None:
        """Remove all objects, faults and counts."""
        self.proxy.forward("GET", "/wipe?keep-buckets=true", {}, b"")
        self.proxy.faults.clear()
        self.proxy.requests.clear()


class GoogleProxy(Proxy):
    """A proxy with the part of the XML API that readers use, made from the JSON API of the emulator."""

    def answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        parts = urlsplit(path)
        query = dict(parse_qsl(parts.query))
        if "list-type" in query:
            return self._list(query)
        key = unquote(parts.path.removeprefix(f"/{BUCKET}/"))
        return self._object(key, {name.lower(): value for name, value in headers.items()})

    def listed(self, prefix: str) -> list[dict[str, Any]]:
        path = f"/storage/v1/b/{BUCKET}/o?prefix={quote(prefix, safe='')}"
        return list(json.loads(self.forward("GET", path, {}, b"").body).get("items", []))

    def _list(self, query: dict[str, str]) -> Answer:
        """List 1,000 objects; the token of the next page is the number of objects before it."""
        entries, begin = self.listed(query.get("prefix", "")), int(query.get("continuation-token", "0"))
        page = entries[begin : begin + 1000]
        more = begin + 1000 < len(entries)
        texts = [
            f"<Contents><Key>{escape(entry['name'])}</Key><LastModified>{entry['updated']}</LastModified>"
            f"<ETag>&quot;{_tag(entry)}&quot;</ETag><Size>{entry['size']}</Size></Contents>"
            for entry in page
        ]
        token = f"<NextContinuationToken>{begin + 1000}</NextContinuationToken>" if more else ""
        text = f"<ListBucketResult><IsTruncated>{str(more).lower()}</IsTruncated>{token}{''.join(texts)}"
        return _answer(200, f"{text}</ListBucketResult>".encode(), {"Content-Type": "application/xml"})

    def _object(self, key: str, headers: dict[str, str]) -> Answer:
        path = f"/storage/v1/b/{BUCKET}/o/{quote(key, safe='')}"
        found = self.forward("GET", path, {}, b"")
        if found.status != 200:
            return _answer(404, b"<Error><Code>NoSuchKey</Code></Error>", {})
        entry = json.loads(found.body)
        modified = datetime.fromisoformat(entry["updated"])
        facts = {"ETag": f'"{_tag(entry)}"', "Last-Modified": format_datetime(modified, usegmt=True)}
        facts["x-goog-generation"] = str(entry.get("generation", "1"))
        if headers.get("if-match", facts["ETag"]) != facts["ETag"]:
            return _answer(412, b"", {})
        data = self.forward("GET", f"/download{path}?alt=media", {}, b"").body
        if "range" not in headers:
            return _answer(200, data, facts)
        first, last = headers["range"].removeprefix("bytes=").split("-")
        stop = min(int(last) + 1, len(data)) if last else len(data)
        facts["Content-Range"] = f"bytes {first}-{stop - 1}/{len(data)}"
        return _answer(206, data[int(first) : stop], facts)


def _tag(entry: dict[str, Any]) -> str:
    return str(entry["md5Hash"]).rstrip("=")


def _answer(status: int, body: bytes, headers: dict[str, str]) -> Answer:
    return Answer(status, {**headers, "Content-Length": str(len(body))}, body)


@contextmanager
def google_server() -> Iterator[GoogleServer]:
    """Run the emulator on a free port of 127.0.0.1."""
    from gcp_storage_emulator.server import create_server

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    emulator = create_server("127.0.0.1", port, in_memory=True, default_bucket=BUCKET)
    emulator.start()
    try:
        with GoogleProxy(f"http://127.0.0.1:{port}").running() as proxy:
            yield GoogleServer(proxy)
    finally:
        emulator.stop()
