"""URLs are read in one way only, and addresses that are not public are known as such."""

from __future__ import annotations

import ipaddress
import socket
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from millrace.errors import SourceNotFoundError, UsageError
from millrace.sources.io.remote.addresses import WebAddress, is_public, parse_url, refuse_credentials, resolve
from millrace.sources.io.remote.model import TransferInterrupted


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://files.example", WebAddress("https", "files.example", 443, "/")),
        ("HTTPS://Files.Example:443/A?b=C#d", WebAddress("https", "files.example", 443, "/A?b=C")),
        ("https://files.example:8443/a%20b", WebAddress("https", "files.example", 8443, "/a%20b")),
        ("https://192.0.2.1/a", WebAddress("https", "192.0.2.1", 443, "/a")),
        ("https://[2001:DB8::0:1]:84/a", WebAddress("https", "2001:db8::1", 84, "/a")),
        ("https://xn--bcher-kva.example?a", WebAddress("https", "xn--bcher-kva.example", 443, "/?a")),
    ],
)
def test_a_url_has_one_spelling(url: str, expected: WebAddress) -> None:
    assert parse_url(url) == expected


def test_an_address_shows_its_port_where_it_is_unusual_and_never_its_query() -> None:
    assert str(parse_url("https://[::1]:84/a?key=canary")) == "https://[::1]:84/a"
    assert parse_url("https://files.example:443/").authority == "files.example"
    assert parse_url("http://files.example:443/", schemes=("http",)).authority == "files.example:443"


REFUSED_URLS = [
    "file:///etc/passwd",
    "gopher://files.example/",
    "ftp://files.example/a",
    "http://169.254.169.254/",
    "http://2130706433/",
    "http://files.example/a.csv",
    "https://2130706433/",
    "https://0177.0.0.1/",
    "https://0x7f000001/",
    "https://0x7f.1/",
    "https://127.1/",
    "https://127.0.0.1./",
    "https://localhost./",
    "https://1.2.3.4.5/",
    "https://256.0.0.1/",
    "https://canary:canary@files.example/",
    "https://canary@files.example/",
    "https://files.example\\@canary.example/",
    "https://files.example\t/",
    "https://files.example/\nHost: canary",
    "https://files.example/a b",
    " https://files.example/",
    "https://files.example\0/",
    "https://b\u00fccher.example/",
    "https://files\u3002example/",
    "https://ex\u0430mple.org/",
    "https://files%2eexample/",
    "https://files.example:0/",
    "https://files.example:99999/",
    "https://files.example:https/",
    "https://files.example:/",
    "https://[::1/",
    "https://[fe80::1%25eth0]/",
    "https://[::1]canary/",
    "https://-files.example/",
    "https://files..example/",
    "https://*.example/",
    f"https://{'a' * 64}.example/",
    "https:///a.csv",
    "https:/files.example/a",
    "https:files.example/a",
    "//files.example/a",
    "",
]


@pytest.mark.parametrize("url", REFUSED_URLS)
def test_an_odd_url_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(UsageError, match=r"the URL|the text") as refused:
        parse_url(url)
    assert "canary" not in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "uri",
    [
        "https://user:canary@files.example/a",
        "https://files.example/a?token=canary",
        "https://files.example/a?b=1&X-Amz-Signature=canary",
        "s3://key:canary@bucket/a",
        "s3://key:canary/b@bucket/a",
    ],
)
def test_a_uri_with_credentials_is_refused_and_not_shown(uri: str) -> None:
    with pytest.raises(UsageError, match="the URI has credentials: remove them, and name a connection") as refused:
        refuse_credentials(uri)
    assert "canary" not in str(refused.value)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.255.255.254",
        "0.0.0.0",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.0.1",
        "100.64.0.1",
        "169.254.169.254",
        "192.0.2.1",
        "198.18.0.1",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:224.0.0.1",
        "64:ff9b::127.0.0.1",
        "64:ff9b::169.254.169.254",
        "64:ff9b:1::a00:1",
        "2002:7f00:1::",
        "2002:a00:1::1",
        "2001:0:1::1",
        "2001:db8::1",
        "3fff::1",
        "fc00::1",
        "fe80::1",
        "fe80::1%eth0",
        "fec0::1",
        "ff02::1",
        "ff0e::1",
    ],
)
def test_an_address_that_is_not_public_is_known(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "address",
    ["8.8.8.8", "93.184.215.14", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2002:808:808::1"],
)
def test_an_address_on_the_internet_is_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


def test_the_addresses_of_a_host_are_each_returned_once() -> None:
    assert resolve("127.0.0.1", 443) == ["127.0.0.1"]


@pytest.mark.parametrize(
    ("code", "error", "message"),
    [
        (socket.EAI_NONAME, SourceNotFoundError, "there is no host files.example: check the spelling"),
        (socket.EAI_AGAIN, TransferInterrupted, "cannot be resolved now"),
    ],
)
def test_a_host_without_an_address_is_not_found_or_an_interruption(
    monkeypatch: pytest.MonkeyPatch, code: int, error: type[Exception], message: str
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise socket.gaierror(code, "canary")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(error, match=message):
        resolve("files.example", 443)


@given(st.text(alphabet="https:/@[]\\?#%.-_x1é0\t 7:f", max_size=30))
@example("files.example:443@127.0.0.1/")
@example("files.example#@127.0.0.1/")
@example("127.0.0.1%2f@files.example/")
def test_a_url_that_is_accepted_names_the_same_host_for_the_client_and_for_urllib(rest: str) -> None:
    url = f"https://{rest}"
    try:
        address = parse_url(url)
    except UsageError:
        return
    for host, port in ((httpx.URL(url).host, httpx.URL(url).port), (urlsplit(url).hostname, urlsplit(url).port)):
        assert (str(host).lower(), port or 443) == (host_as_written(url, address), address.port)


def host_as_written(url: str, address: WebAddress) -> str:
    """Return the host as the URL spells it; only an IPv6 address has several spellings."""
    return urlsplit(url).hostname or "" if ":" in address.host else address.host
