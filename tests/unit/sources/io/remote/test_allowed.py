"""The sources that may be loaded: hosts, networks, buckets, redirects; nothing is sent where a load is refused."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import httpx
import pytest

from millrace.errors import MillraceError, SourceNotFoundError, SourceUnreadableError, UsageError
from millrace.settings import SourcesSettings
from millrace.sources.io.remote.addresses import Resolve, parse_url
from millrace.sources.io.remote.allowed import check_endpoint, check_uri, checked_addresses
from tests.https_server import Authority, HttpsServer, WebFile
from tests.unit.sources.io.remote.test_addresses import REFUSED_URLS

PUBLIC, PRIVATE = "93.184.215.14", "127.0.0.1"


def resolving(*answers: Sequence[str]) -> Resolve:
    """Return a resolver that gives these answers one after another, and fails after the last one."""
    left = list(answers)
    return lambda host, port: left.pop(0)


def allowing(*hosts: str, buckets: Sequence[str] = ()) -> SourcesSettings:
    return SourcesSettings(hosts=tuple(hosts), buckets=tuple(buckets))


@pytest.fixture
def second(authority: Authority) -> Iterator[HttpsServer]:
    with authority.server() as running:
        yield running


def test_a_host_that_is_not_listed_is_refused_by_name() -> None:
    with pytest.raises(UsageError) as refused:
        check_uri("https://files.example/a.csv", allowing("other.example", "files.example:8443"))
    assert str(refused.value) == (
        "the host files.example is not in MILLRACE_SOURCES__HOSTS: add files.example to it, if you trust it"
    )
    check_uri("https://FILES.example/a.csv", allowing("files.example"))
    check_uri("https://files.example:8443/a.csv", allowing("Files.Example:8443"))


@pytest.mark.parametrize("url", REFUSED_URLS)
def test_an_odd_url_reaches_no_server(server: HttpsServer, client: Any, url: str) -> None:
    with pytest.raises(UsageError):
        client(url, server.entry, "localhost", "127.0.0.1", "[::ffff:127.0.0.1]").facts("")
    assert server.connections == 0


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "[::ffff:127.0.0.1]", "[::1]", "169.254.169.254", "224.0.0.1", "10.0.0.1"]
)
def test_an_ip_address_that_is_not_public_needs_its_network(host: str) -> None:
    with pytest.raises(UsageError, match=r"is not public: add .*=NETWORK with its network"):
        check_uri(f"https://{host}/a", allowing(host))


def test_an_ip_address_in_its_network_is_allowed() -> None:
    check_uri("https://10.0.0.1/a", allowing("10.0.0.1=10.0.0.0/8"))
    check_uri("https://[::1]:84/a", allowing("[::1]:84=::1/128"))
    check_uri("https://8.8.8.8/a", allowing("8.8.8.8"))
    with pytest.raises(UsageError, match="is not public"):
        check_uri("https://10.0.0.1/a", allowing("10.0.0.1=10.1.0.0/16"))


@pytest.mark.parametrize("answer", [[PRIVATE], [PUBLIC, PRIVATE], [PUBLIC, "::1"], ["::ffff:127.0.0.1"], ["224.0.0.1"]])
def test_one_private_address_among_all_of_them_is_refused(server: HttpsServer, client: Any, answer: list[str]) -> None:
    host = f"files.example:{server.port}"
    files = client(f"https://{host}", host, resolve_host=lambda *_: answer)
    with pytest.raises(UsageError, match=f"{host} has the address .*, which is not public"):
        files.facts("/a.csv")
    assert server.connections == 0


def test_a_host_without_an_address_is_not_found() -> None:
    with pytest.raises(SourceNotFoundError, match=r"files\.example has no address"):
        checked_addresses(parse_url("https://files.example"), allowing("files.example"), resolving([]))


def test_a_listed_network_allows_its_private_addresses_only(server: HttpsServer, client: Any) -> None:
    server.files["/a.csv"] = WebFile(b"x\n1\n")
    host = f"files.example:{server.port}"
    answers = resolving([PRIVATE], ["127.0.0.1", "10.0.0.1"])
    files = client(f"https://{host}", f"{host}=127.0.0.0/8", resolve_host=answers)
    assert files.facts("/a.csv").facts.size_bytes == 4
    assert server.requests[0].headers["host"] == host
    with pytest.raises(UsageError, match=r"has the address 10\.0\.0\.1"):
        files.facts("/a.csv")
    assert len(server.requests) == 1


class Recorder(httpx.BaseTransport):
    """A transport that records requests, and responds to each with the headers of a file of one byte."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return httpx.Response(200, headers={"content-length": "1", "accept-ranges": "bytes", "etag": '"v1"'})


def test_a_request_goes_to_the_address_that_was_checked_with_the_name_of_the_host(client: Any) -> None:
    transport = Recorder()
    files = client(
        "https://files.example", "files.example", resolve_host=resolving([PUBLIC]), new_transport=lambda: transport
    )
    files.facts("/a%20b.csv?c=d")
    [request] = transport.requests
    assert str(request.url) == f"https://{PUBLIC}/a%20b.csv?c=d"
    assert request.headers["host"] == request.extensions["sni_hostname"] == "files.example"


def test_a_name_that_becomes_private_after_its_check_reaches_neither_address(server: HttpsServer, client: Any) -> None:
    """The check of the form and the request resolve the name apart from each other."""
    host, transport = f"files.example:{server.port}", Recorder()
    answers, settings = resolving([PUBLIC], [PRIVATE]), allowing(host)
    checked_addresses(parse_url(f"https://{host}/a.csv"), settings, answers)
    files = client(f"https://{host}", host, resolve_host=answers, new_transport=lambda: transport)
    with pytest.raises(UsageError, match=r"has the address 127\.0\.0\.1, which is not public"):
        files.facts("/a.csv")
    assert (transport.requests, server.connections) == ([], 0)


def test_a_name_that_becomes_private_between_two_requests_is_never_reached_there(
    server: HttpsServer, client: Any
) -> None:
    host, transport = f"files.example:{server.port}", Recorder()
    files = client(
        f"https://{host}", host, resolve_host=resolving([PUBLIC], [PRIVATE]), new_transport=lambda: transport
    )
    file = files.facts("/a.csv")
    with pytest.raises(UsageError, match="is not public"):
        list(files.read(file, 0, 1))
    assert [request.url.host for request in transport.requests] == [PUBLIC]
    assert server.connections == 0


def test_the_next_address_is_tried_where_one_cannot_be_reached(server: HttpsServer, client: Any) -> None:
    server.files["/a.csv"] = WebFile(b"x\n1\n")
    host = f"files.example:{server.port}"
    files = client(f"https://{host}", f"{host}=127.0.0.0/8", resolve_host=lambda *_: ["127.0.0.9", "127.0.0.1"])
    assert files.facts("/a.csv").facts.size_bytes == 4


CREDENTIALS = {"Authorization": "Bearer canary", "Cookie": "canary", "X-Api-Key": "canary"}


def test_credentials_go_to_the_host_of_the_source(server: HttpsServer, client: Any) -> None:
    server.files["/b.csv"] = WebFile(b"x\n1\n")
    server.redirects["/a.csv"] = "/b.csv"
    server.required = {"authorization": "Bearer canary"}
    files = client(server.url(), server.entry, headers=CREDENTIALS)
    assert b"".join(files.read(files.facts("/a.csv"), 0, 4)) == b"x\n1\n"
    assert all(request.headers["x-api-key"] == "canary" for request in server.requests)
    assert "canary" not in repr(files)


def test_another_host_and_another_port_get_no_credentials(
    server: HttpsServer, second: HttpsServer, client: Any
) -> None:
    second.files["/b.csv"] = WebFile(b"x\n1\n")
    server.redirects = {"/a.csv": second.url("/b.csv"), "/c.csv": server.url("/b.csv", "localhost")}
    server.files["/b.csv"] = WebFile(b"x\n1\n")
    entries = (server.entry, second.entry, f"localhost:{server.port}=127.0.0.0/8")
    files = client(server.url(), *entries, headers=CREDENTIALS, resolve_host=lambda *_: ["127.0.0.1"])
    assert files.facts("/a.csv").facts.size_bytes == files.facts("/c.csv").facts.size_bytes == 4
    elsewhere = [*second.requests, *(r for r in server.requests if r.headers["host"].startswith("localhost"))]
    assert len(elsewhere) == 2
    assert "canary" not in str(elsewhere)


def test_cookies_of_a_response_are_not_kept(server: HttpsServer, client: Any) -> None:
    server.files["/a.csv"] = WebFile(b"x\n1\n", headers={"Set-Cookie": "session=canary"})
    files = client(server.url(), server.entry)
    files.facts("/a.csv")
    files.facts("/a.csv")
    assert "canary" not in str(server.requests)


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("http://127.0.0.1:{port}/b.csv", "does not begin with https://"),
        ("file:///etc/passwd", "does not begin with https://"),
        ("gopher://127.0.0.1:{port}/", "does not begin with https://"),
        ("https://localhost:{port}/b.csv", "the host localhost:[0-9]+ is not in MILLRACE_SOURCES__HOSTS"),
        ("//localhost:{port}/b.csv", "is not in MILLRACE_SOURCES__HOSTS"),
        ("https://169.254.169.254/latest", "is not in MILLRACE_SOURCES__HOSTS"),
        ("https://2130706433:{port}/", "does not name a host in its usual form"),
        ("https://user:canary@127.0.0.1:{port}/", "does not name a host in its usual form"),
        ("https://127.0.0.1:{port}\\@canary/", "the text is not a URL"),
        ("https://[::1/", "the text is not a URL"),
    ],
)
def test_a_redirect_that_is_not_allowed_is_refused_with_nothing_sent_there(
    server: HttpsServer, second: HttpsServer, client: Any, location: str, reason: str
) -> None:
    server.redirects["/a.csv"] = location.format(port=second.port)
    files = client(server.url(), server.entry, resolve_host=lambda *_: ["127.0.0.1"])
    with pytest.raises(SourceUnreadableError, match=reason) as refused:
        files.facts("/a.csv")
    assert str(refused.value).startswith(server.url("/a.csv"))
    assert "canary" not in str(refused.value)
    assert second.connections == 0


def test_a_redirect_to_a_listed_host_with_a_private_address_is_refused(
    server: HttpsServer, second: HttpsServer, client: Any
) -> None:
    host = f"files.example:{second.port}"
    server.redirects["/a.csv"] = f"https://{host}/b.csv"
    files = client(server.url(), server.entry, host, resolve_host=lambda *_: ["127.0.0.1"])
    with pytest.raises(UsageError, match=f"{host} has the address 127.0.0.1, which is not public"):
        files.facts("/a.csv")
    assert second.connections == 0


def test_a_circle_of_redirects_ends_after_three(server: HttpsServer, client: Any) -> None:
    server.redirects = {"/a.csv": "/b.csv", "/b.csv": "/a.csv"}
    with pytest.raises(SourceUnreadableError, match=r"/a\.csv redirects more than 3 times"):
        client(server.url(), server.entry).facts("/a.csv")
    assert len(server.requests) == 4


def test_three_redirects_are_followed_by_each_request(server: HttpsServer, client: Any) -> None:
    server.redirects = {"/a": "/b", "/b": "/c", "/c": "/d?X-Amz-Signature=1"}
    server.files["/d?X-Amz-Signature=1"] = WebFile(b"x\n1\n")
    files = client(server.url(), server.entry)
    assert b"".join(files.read(files.facts("/a"), 0, 4)) == b"x\n1\n"
    assert len(server.requests) == 8


def test_a_path_that_changes_the_host_gets_no_credentials(client: Any) -> None:
    transport = Recorder()
    files = client(
        "https://files.example",
        "files.example",
        "files.example.other.example",
        headers=CREDENTIALS,
        resolve_host=lambda *_: [PUBLIC],
        new_transport=lambda: transport,
    )
    files.facts(".other.example/a.csv")
    assert "authorization" not in transport.requests[0].headers


@pytest.mark.parametrize("uri", ["s3://flights/a.csv", "gs://flights/*.csv", "s3://flights"])
def test_any_bucket_is_allowed_unless_some_are_listed(uri: str) -> None:
    check_uri(uri, allowing())
    check_uri(uri, allowing(buckets=["s3://flights", "gs://flights"]))
    with pytest.raises(UsageError, match="://flights is not in MILLRACE_SOURCES__BUCKETS"):
        check_uri(uri, allowing(buckets=["s3://flights2"]))


@pytest.mark.parametrize("uri", ["ftp://files.example/a", "memory://a", "az://bucket/a", "s3://k:canary@flights/a"])
def test_other_schemes_and_credentials_are_refused(uri: str) -> None:
    with pytest.raises(UsageError) as refused:
        check_uri(uri, allowing("files.example"))
    assert "canary" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    ["https://s3.eu-central-1.amazonaws.com", "https://flights.s3.amazonaws.com", "https://storage.googleapis.com"],
)
def test_the_own_endpoints_of_the_providers_need_no_entry_and_are_checked(url: str) -> None:
    check_endpoint(url, allowing(), resolving([PUBLIC]))
    with pytest.raises(UsageError, match="is not public"):
        check_endpoint(url, allowing(), resolving(["10.0.0.1"]))


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("https://minio.example:9000", "is not in MILLRACE_SOURCES__HOSTS"),
        ("https://amazonaws.com.other.example", "is not in MILLRACE_SOURCES__HOSTS"),
        ("https://other-amazonaws.com", "is not in MILLRACE_SOURCES__HOSTS"),
        ("https://s3.amazonaws.com:8443", "is not in MILLRACE_SOURCES__HOSTS"),
        ("http://s3.amazonaws.com", "is not encrypted"),
        ("http://listed.example", "is not encrypted"),
        ("ftp://listed.example", "does not begin with https:// or http://"),
    ],
)
def test_another_endpoint_must_be_listed_and_encrypted(url: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        check_endpoint(url, allowing("listed.example:80"), resolving([PUBLIC]))


def test_an_endpoint_that_is_listed_with_its_network_may_be_private_and_plain() -> None:
    settings = allowing("minio.example:9000=10.0.0.0/8", "127.0.0.1:5000=127.0.0.1/32")
    check_endpoint("http://minio.example:9000", settings, resolving(["10.1.1.1"]))
    check_endpoint("http://127.0.0.1:5000", settings)
    with pytest.raises(MillraceError, match="is not public"):
        check_endpoint("http://minio.example:9000", settings, resolving(["192.168.0.1"]))
