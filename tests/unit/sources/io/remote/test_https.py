"""Files of web servers: facts, conditional reads, faults of the server and of its certificate."""

from __future__ import annotations

import gzip
import random
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest

from millrace.errors import (
    SourceChangedError,
    SourceFormatError,
    SourceNotFoundError,
    SourceTooLargeError,
    SourceUnavailableError,
    SourceUnreadableError,
    UsageError,
)
from millrace.sources.io.remote.bodies import TransferLimits
from millrace.sources.io.remote.https import HttpsFiles
from millrace.sources.io.remote.model import PIECE_BYTES_MAX, RemoteFile, TransferInterrupted
from millrace.sources.model import FileFacts
from tests.https_server import YESTERDAY, Authority, HttpsServer, WebFile

CONTENT = random.Random(14).randbytes(300_000)
MODIFIED_NS = 1_795_860_000_000_000_000
PATH = "/flights.csv"


def read(files: HttpsFiles, file: RemoteFile, start: int = 0, stop: int | None = None) -> bytes:
    return b"".join(files.read(file, start, len(CONTENT) if stop is None else stop))


def put(server: HttpsServer, content: bytes = CONTENT, **fields: Any) -> WebFile:
    server.files[PATH] = WebFile(content, **fields)
    return server.files[PATH]


def read_resuming(files: HttpsFiles, file: RemoteFile, interruptions_max: int) -> bytes:
    """Read a file as the stream does: after an interruption continue at the byte reached."""
    content = b""
    for _ in range(interruptions_max + 1):
        try:
            for piece in files.read(file, len(content), len(CONTENT)):
                content += piece
            return content
        except TransferInterrupted:
            continue
    raise AssertionError("too many interruptions")


def test_the_facts_of_a_file_are_size_time_and_strong_etag(server: HttpsServer, files: HttpsFiles) -> None:
    put(server)
    assert files.facts(PATH) == RemoteFile(PATH, FileFacts(300_000, MODIFIED_NS, '"v1"'), True, "")
    assert [request.method for request in server.requests] == ["HEAD"]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"etag": 'W/"v1"'}, FileFacts(300_000, MODIFIED_NS, "")),
        ({"etag": None}, FileFacts(300_000, MODIFIED_NS, "")),
        ({"etag": "v1"}, FileFacts(300_000, MODIFIED_NS, "")),
        ({"modified": None}, FileFacts(300_000, 0, '"v1"')),
        ({"modified": "yesterday"}, FileFacts(300_000, 0, '"v1"')),
        ({"allows_head": False}, FileFacts(300_000, MODIFIED_NS, '"v1"')),
        ({"has_length": False}, FileFacts(300_000, MODIFIED_NS, '"v1"')),
        ({"names_length_0_in_head": True}, FileFacts(300_000, MODIFIED_NS, '"v1"')),
    ],
)
def test_facts_that_the_server_does_not_name_are_empty(
    server: HttpsServer, files: HttpsFiles, fields: dict[str, Any], expected: FileFacts
) -> None:
    put(server, **fields)
    file = files.facts(PATH)
    assert (file.facts, file.has_ranges) == (expected, True)
    assert read(files, file, 1000, 2000) == CONTENT[1000:2000]


def test_a_server_without_ranges_and_without_a_length_is_read_to_the_end(
    server: HttpsServer, files: HttpsFiles
) -> None:
    put(server, has_ranges=False, has_length=False)
    file = files.facts(PATH)
    assert (file.facts.size_bytes, file.has_ranges) == (-1, False)
    assert b"".join(files.read(file, 0, -1)) == CONTENT


def test_a_server_without_ranges_is_read_once_from_its_beginning(server: HttpsServer, files: HttpsFiles) -> None:
    put(server, has_ranges=False)
    file = files.facts(PATH)
    assert (file.facts.size_bytes, file.has_ranges) == (300_000, False)
    assert read(files, file) == CONTENT
    assert read(files, file, 0, 100) == CONTENT[:100]
    assert "range" not in server.requests[-1].headers


def test_an_empty_file_has_the_size_0(server: HttpsServer, files: HttpsFiles) -> None:
    for allows_head in (True, False):
        put(server, b"", allows_head=allows_head)
        file = files.facts(PATH)
        assert file.facts.size_bytes == 0
        assert read(files, file, 0, 0) == b""


def test_each_range_of_a_file_has_its_bytes_and_pieces_of_bounded_size(server: HttpsServer, files: HttpsFiles) -> None:
    content = CONTENT * 10
    put(server, content)
    file = files.facts(PATH)
    pieces = list(files.read(file, 1, len(content) - 1))
    assert b"".join(pieces) == content[1:-1]
    assert max(map(len, pieces)) <= PIECE_BYTES_MAX
    assert read(files, file, 5, 6) == content[5:6]
    assert server.requests[-1].headers["range"] == "bytes=5-5"


def test_connections_are_used_again_and_closed_with_the_reader(server: HttpsServer, files: HttpsFiles) -> None:
    put(server)
    file = files.facts(PATH)
    for start in range(0, 300_000, 50_000):
        read(files, file, start, start + 50_000)
    assert server.connections == 1
    body = files.read(file, 0, 300_000)
    next(body)
    body.close()  # type: ignore[attr-defined]  # a generator
    assert read(files, file) == CONTENT
    assert server.connections == 2


def test_each_request_is_conditional_and_asks_for_no_encoding(server: HttpsServer, files: HttpsFiles) -> None:
    put(server)
    read(files, files.facts(PATH))
    assert server.requests[-1].headers == {
        "host": f"127.0.0.1:{server.port}",
        "user-agent": "millrace",
        "accept": "*/*",
        "accept-encoding": "identity",
        "if-match": '"v1"',
        "range": "bytes=0-299999",
    }
    put(server, etag=None)
    read(files, files.facts(PATH))
    assert server.requests[-1].headers["if-unmodified-since"] == "Sat, 28 Nov 2026 10:00:00 GMT"


def _replaced_etag(file: WebFile) -> None:
    file.etag = '"v2"'


def _replaced_time(file: WebFile) -> None:
    file.etag, file.modified = None, "Sat, 28 Nov 2026 10:00:01 GMT"


def _replaced_size(file: WebFile) -> None:
    file.content += b"more"


def _no_etag_any_more(file: WebFile) -> None:
    file.headers = {"ETag": ""}


def _encoded(file: WebFile) -> None:
    file.headers = {"Content-Encoding": "gzip"}


@pytest.mark.parametrize("replace", [_replaced_etag, _replaced_time, _replaced_size, _no_etag_any_more, _encoded])
@pytest.mark.parametrize("has_ranges", [True, False])
def test_a_file_that_changed_after_its_facts_were_read_is_refused(
    server: HttpsServer, files: HttpsFiles, replace: Callable[[WebFile], None], has_ranges: bool
) -> None:
    web_file = put(server, has_ranges=has_ranges)
    file = files.facts(PATH)
    replace(web_file)
    with pytest.raises(SourceChangedError, match=r"flights\.csv changed after the load was planned"):
        read(files, file)


def test_without_an_etag_the_response_itself_is_compared(server: HttpsServer, files: HttpsFiles) -> None:
    web_file = put(server, etag=None, modified=None)
    file = files.facts(PATH)
    assert read(files, file) == CONTENT
    web_file.content += b"more"
    with pytest.raises(SourceChangedError):
        read(files, file)


def test_a_file_that_became_shorter_than_the_range_is_refused(server: HttpsServer, files: HttpsFiles) -> None:
    web_file = put(server, etag=None, modified=None)
    file = files.facts(PATH)
    web_file.content = CONTENT[:1000]
    with pytest.raises(SourceChangedError):
        read(files, file, 2000, 3000)


def test_a_file_replaced_in_the_middle_of_a_response_is_never_mixed(server: HttpsServer, files: HttpsFiles) -> None:
    web_file = put(server, resets=deque([200_000]))
    web_file.replacement = WebFile(bytes(300_000), etag='"v2"')
    file = files.facts(PATH)
    with pytest.raises(SourceChangedError):
        read_resuming(files, file, 3)


def test_resets_at_ten_places_are_interruptions_and_the_rest_is_read(server: HttpsServer, files: HttpsFiles) -> None:
    put(server, resets=deque([0, 1, 1000, 16_384, 50_000, 99_999, 150_000, 200_000, 299_000, 299_999]))
    assert read_resuming(files, files.facts(PATH), 10) == CONTENT
    assert not server.files[PATH].resets


def test_three_503_and_then_200_are_interruptions(server: HttpsServer, files: HttpsFiles) -> None:
    put(server, statuses=deque([503, 503, 503]))
    assert read_resuming(files, files.facts(PATH), 3) == CONTENT


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_a_status_that_may_pass_is_an_interruption(server: HttpsServer, files: HttpsFiles, status: int) -> None:
    put(server, statuses=deque([status]), allows_head=False)
    with pytest.raises(TransferInterrupted, match=f"status {status}"):
        files.facts(PATH)


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (401, "requires credentials (status 401): name a connection with a valid login or token"),
        (403, "refuses access (status 403): name a connection that has access to it"),
        (400, "has no file (status 400): check the URL in a browser"),
        (304, "has no file (status 304): check the URL in a browser"),
    ],
)
def test_a_refusal_is_one_clear_line(server: HttpsServer, files: HttpsFiles, status: int, message: str) -> None:
    put(server, statuses=deque([status]), allows_head=False)
    with pytest.raises(SourceUnreadableError) as refused:
        files.facts(PATH)
    assert str(refused.value) == f"{server.url(PATH)} {message}"
    assert len([request for request in server.requests if request.method == "GET"]) == 1


def test_a_missing_file_is_not_found(server: HttpsServer, files: HttpsFiles) -> None:
    with pytest.raises(SourceNotFoundError, match=r"/missing\.csv does not exist \(status 404\)"):
        files.facts("/missing.csv")
    assert len(server.requests) == 1


def test_the_query_is_sent_and_not_shown(server: HttpsServer, files: HttpsFiles) -> None:
    server.files["/flights.csv?day=1"] = WebFile(CONTENT)
    assert files.facts("/flights.csv?day=1").facts.size_bytes == 300_000
    with pytest.raises(SourceNotFoundError) as missing:
        files.facts("/flights.csv?day=2")
    assert "day" not in str(missing.value)


def test_a_server_that_is_too_slow_is_given_up(server: HttpsServer, files: HttpsFiles) -> None:
    web_file = put(server)
    file = files.facts(PATH)
    web_file.bytes_per_s = 1000
    begun = time.monotonic()
    with pytest.raises(SourceUnavailableError, match="is too slow: it sends fewer than 10,000 bytes per second"):
        read(files, file)
    assert time.monotonic() - begun < 3


def test_a_slow_reader_is_not_taken_for_a_slow_server(server: HttpsServer, files: HttpsFiles) -> None:
    put(server)
    body = files.read(files.facts(PATH), 0, len(CONTENT))
    content = next(body)
    time.sleep(1)
    assert content + b"".join(body) == CONTENT


def test_a_server_that_sends_nothing_for_too_long_is_an_interruption(server: HttpsServer, client: Any) -> None:
    web_file = put(server)
    files = client(server.url(), server.entry, limits=TransferLimits(read_s=0.3))
    file = files.facts(PATH)
    web_file.silence_s = 2
    with pytest.raises(TransferInterrupted, match="the server sends nothing"):
        read(files, file)


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_headers_that_drip_byte_by_byte_are_an_interruption(server: HttpsServer, client: Any, method: str) -> None:
    web_file = put(server)
    files = client(server.url(), server.entry, limits=TransferLimits(read_s=0.5))
    file = files.facts(PATH)
    web_file.header_drip_s = 0.02
    begun = time.monotonic()
    with pytest.raises(TransferInterrupted, match="the server sends nothing or too little in time"):
        files.facts(PATH) if method == "HEAD" else read(files, file)
    assert 0.4 < time.monotonic() - begun < 2


@pytest.mark.parametrize("declared", [299_999, 300_001, 10**15])
def test_a_wrong_length_of_a_whole_response_is_never_read_as_the_file(
    server: HttpsServer, files: HttpsFiles, declared: int
) -> None:
    web_file = put(server, has_ranges=False)
    file = files.facts(PATH)
    web_file.headers = {"Content-Length": str(declared)}
    with pytest.raises(SourceChangedError):
        read(files, file)


def test_a_length_that_is_always_too_large_is_an_interruption(server: HttpsServer, files: HttpsFiles) -> None:
    put(server, has_ranges=False, headers={"Content-Length": "300001"})
    file = files.facts(PATH)
    with pytest.raises(TransferInterrupted, match="connection was closed before the end"):
        read(files, file, 0, 300_001)


def test_a_range_with_fewer_bytes_than_promised_is_an_interruption(server: HttpsServer, files: HttpsFiles) -> None:
    web_file = put(server)
    file = files.facts(PATH)
    web_file.headers = {"Content-Length": "1000"}
    with pytest.raises(TransferInterrupted, match="ends after 1,000 of 300,000 bytes"):
        read(files, file)


def test_another_range_than_the_requested_one_is_refused(server: HttpsServer, files: HttpsFiles) -> None:
    web_file = put(server)
    file = files.facts(PATH)
    web_file.headers = {"Content-Range": "bytes 0-999/300000"}
    with pytest.raises(SourceUnreadableError, match="responds with another range"):
        read(files, file, 1000, 2000)


def test_a_server_without_ranges_since_the_plan_is_refused(server: HttpsServer, files: HttpsFiles) -> None:
    web_file = put(server)
    file = files.facts(PATH)
    web_file.has_ranges = False
    with pytest.raises(SourceUnreadableError, match="responds with another range"):
        read(files, file, 1000, 2000)


@pytest.mark.parametrize("has_length", [True, False])
def test_an_endless_body_ends_at_its_limit(server: HttpsServer, files: HttpsFiles, has_length: bool) -> None:
    web_file = put(server, has_ranges=False, has_length=has_length)
    file = files.facts(PATH)
    web_file.is_endless = True
    if has_length:
        assert len(read(files, file)) == 300_000
    else:
        with pytest.raises(SourceTooLargeError, match="sends more than 2,000,000 bytes without naming its size"):
            b"".join(files.read(file, 0, -1))


def test_a_body_without_a_mark_of_its_end_is_refused(server: HttpsServer, files: HttpsFiles) -> None:
    put(server, has_ranges=False, has_length=False, headers={"Transfer-Encoding": None})  # type: ignore[dict-item]
    file = files.facts(PATH)
    with pytest.raises(SourceUnreadableError, match="does not mark the end of its body"):
        b"".join(files.read(file, 0, -1))


def test_gzip_is_reported_and_its_bytes_are_read_as_they_are(server: HttpsServer, files: HttpsFiles) -> None:
    packed = gzip.compress(CONTENT)
    for name in ("gzip", "x-gzip", "GZIP", "identity, gzip"):
        put(server, packed, headers={"Content-Encoding": name})
        file = files.facts(PATH)
        assert file.encoding == "gzip"
        assert read(files, file, 0, len(packed)) == packed


@pytest.mark.parametrize("encoding", ["br", "deflate", "gzip, gzip", ", ".join(["gzip"] * 6), "zstd", "\xff"])
def test_a_chain_of_encodings_and_an_unknown_one_are_refused(
    server: HttpsServer, files: HttpsFiles, encoding: str
) -> None:
    put(server, headers={"Content-Encoding": encoding})
    with pytest.raises(SourceFormatError, match="has the Content-Encoding"):
        files.facts(PATH)


def test_an_expired_certificate_is_named_and_nothing_is_sent(authority: Authority, client: Any) -> None:
    with authority.server(not_after=YESTERDAY) as server:
        files = client(server.url(), server.entry)
        with pytest.raises(SourceUnreadableError, match="its certificate has expired"):
            files.facts(PATH)
        assert (server.connections, server.requests) == (1, [])


@pytest.mark.parametrize("host", ["127.0.0.1", "files.example"])
def test_a_certificate_for_another_host_is_named_and_nothing_is_sent(
    authority: Authority, client: Any, host: str
) -> None:
    with authority.server("other.example") as server:
        entry = f"{host}:{server.port}=127.0.0.0/8"
        files = client(server.url(host=host), entry, resolve_host=lambda *_: ["127.0.0.1"])
        with pytest.raises(SourceUnreadableError, match=f"its certificate is for another host than {host}"):
            files.facts(PATH)
        assert (server.connections, server.requests) == (1, [])


def test_an_authority_that_is_not_trusted_is_named_and_nothing_is_sent(client: Any) -> None:
    with Authority().server() as server:
        with pytest.raises(SourceUnreadableError, match="its certificate is not trusted"):
            client(server.url(), server.entry).facts(PATH)
        assert server.requests == []


def test_a_server_that_cannot_be_reached_is_an_interruption(authority: Authority, client: Any) -> None:
    with authority.server() as server:
        files = client(server.url(), server.entry)
    with pytest.raises(TransferInterrupted, match="the server cannot be reached"):
        files.facts(PATH)


def test_a_list_of_files_is_refused(files: HttpsFiles) -> None:
    with pytest.raises(UsageError, match="a web server has no list of its files"):
        files.list("")


def test_a_header_that_is_not_ascii_or_has_a_line_end_is_refused(server: HttpsServer, client: Any) -> None:
    with pytest.raises(UsageError, match="a header of the connection is not ASCII"):
        client(server.url(), server.entry, headers={"x-key": "sch\u00f6n"})
    files = client(server.url(), server.entry, headers={"x-key": "canary\r\nx-other: 1"})
    with pytest.raises(SourceUnreadableError, match="the request is not valid HTTP") as refused:
        files.facts(PATH)
    assert "canary" not in str(refused.value)
    assert server.requests == []


@pytest.mark.parametrize("etag", [None, 'W/"v1"'])
def test_a_file_that_names_no_change_is_never_joined_from_two_responses(
    server: HttpsServer, files: HttpsFiles, etag: str | None
) -> None:
    put(server, etag=etag, modified=None)
    assert not files.facts(PATH).has_ranges
