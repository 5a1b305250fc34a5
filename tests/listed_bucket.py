"""A server of one S3 bucket with many small objects, which lists a page of 1,000 objects in a millisecond.

moto takes a second for each page, so that a measurement with it is one of moto. This server has the part of S3 that
readers use: ListObjectsV2, HEAD, and GET with a range and ``If-Match``. It refuses a request that is not signed by its
key, but does not check the signature; moto does.
"""

from __future__ import annotations

import hashlib
import json
import re
from bisect import bisect_right, insort
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qsl, unquote, urlsplit
from xml.sax.saxutils import escape

BUCKET = "lake"
KEY = "AKIDLISTEDBUCKET"
_PAGE_KEYS_MAX = 1000


@dataclass
class ListedBucket:
    """The objects by key, and the method and path of each request."""

    objects: dict[str, bytes] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)
    port: int = 0
    _keys: list[str] = field(default_factory=list)

    def put(self, key: str, data: bytes) -> str:
        """Store an object; return its address."""
        if key not in self.objects:
            insort(self._keys, key)
        self.objects[key] = data
        return f"s3://{BUCKET}/{key}"

    def connection(self) -> str:
        """Return the JSON of an Airflow connection to the server."""
        extra = {"region_name": "us-east-1", "endpoint_url": f"http://127.0.0.1:{self.port}"}
        return json.dumps({"conn_type": "aws", "login": KEY, "password": "secret", "extra": extra})

    def page(self, query: dict[str, str]) -> str:
        """Return a page of ListObjectsV2 as XML; the token of the next page is the last key of this one."""
        prefix, after = query.get("prefix", ""), query.get("continuation-token", "")
        size = min(_PAGE_KEYS_MAX, int(query.get("max-keys", _PAGE_KEYS_MAX)))
        first = bisect_right(self._keys, after) if after else 0
        matching = [key for key in self._keys[first:] if key.startswith(prefix)]
        page, more = matching[:size], len(matching) > size
        token = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if more else ""
        return (
            f"<ListBucketResult><Name>{BUCKET}</Name><KeyCount>{len(page)}</KeyCount><MaxKeys>{size}</MaxKeys>"
            f"<IsTruncated>{str(more).lower()}</IsTruncated>{token}{''.join(map(self._entry, page))}</ListBucketResult>"
        )

    def _entry(self, key: str) -> str:
        data = self.objects[key]
        return (
            f"<Contents><Key>{escape(key)}</Key><LastModified>2026-11-28T10:00:00.000Z</LastModified>"
            f"<ETag>{escape(etag(data))}</ETag><Size>{len(data)}</Size><StorageClass>STANDARD</StorageClass></Contents>"
        )


def etag(data: bytes) -> str:
    return f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'


@contextmanager
def listed_bucket() -> Iterator[ListedBucket]:
    """Run the server on a free port of 127.0.0.1."""
    bucket = ListedBucket()
    with ThreadingHTTPServer(("127.0.0.1", 0), _handler(bucket)) as server:
        bucket.port = server.server_port
        Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield bucket
        server.shutdown()


def _handler(bucket: ListedBucket) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # A response is sent as headers and body, and the kernel would hold back the second one for 40 ms.
        disable_nagle_algorithm = True

        def respond(self) -> None:
            bucket.requests.append((self.command, self.path))
            parts = urlsplit(self.path)
            query, key = dict(parse_qsl(parts.query)), unquote(parts.path).removeprefix(f"/{BUCKET}").lstrip("/")
            if not self.headers.get("Authorization", "").startswith(f"AWS4-HMAC-SHA256 Credential={KEY}/"):
                self.send(403, b"<Error><Code>AccessDenied</Code></Error>")
            elif "list-type" in query:
                self.send(200, bucket.page(query).encode(), {"Content-Type": "application/xml"})
            elif (data := bucket.objects.get(key)) is None:
                self.send(404, b"<Error><Code>NoSuchKey</Code></Error>")
            else:
                self.send_object(data)

        def send_object(self, data: bytes) -> None:
            facts = {"ETag": etag(data), "Last-Modified": "Sat, 28 Nov 2026 10:00:00 GMT", "Accept-Ranges": "bytes"}
            if self.headers.get("If-Match", facts["ETag"]) != facts["ETag"]:
                self.send(412, b"")
            elif match := re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", "")):
                start, stop = int(match[1]), min(int(match[2]) + 1, len(data))
                self.send(206, data[start:stop], {**facts, "Content-Range": f"bytes {start}-{stop - 1}/{len(data)}"})
            else:
                self.send(200, data, facts)

        def send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response_only(status)
            for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_GET = do_HEAD = respond

    return Handler
