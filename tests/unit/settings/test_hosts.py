"""The entries of ``MILLRACE_SOURCES__HOSTS`` and ``MILLRACE_SOURCES__BUCKETS`` are checked at the start, by name."""

from __future__ import annotations

import ipaddress

import pytest

from millrace.errors import InvalidSettingError
from millrace.settings import SourcesSettings, load_settings
from millrace.settings.hosts import AllowedHost, allowed_host

TEN = ipaddress.ip_network("10.0.0.0/8")


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("files.example", AllowedHost("files.example", 443)),
        ("Files.Example:8443", AllowedHost("files.example", 8443)),
        ("intranet=10.0.0.0/8", AllowedHost("intranet", 443, TEN)),
        ("my_files.example:84=10.0.0.0/8", AllowedHost("my_files.example", 84, TEN)),
        ("10.0.0.1:9000=10.0.0.0/8", AllowedHost("10.0.0.1", 9000, TEN)),
        ("[0:0::1]:9000=::1", AllowedHost("::1", 9000, ipaddress.ip_network("::1/128"))),
    ],
)
def test_an_entry_is_a_host_with_a_port_and_a_network(entry: str, expected: AllowedHost) -> None:
    assert allowed_host(entry) == expected


@pytest.mark.parametrize(
    "entry",
    [
        "*.example",
        "https://files.example",
        "files.example/",
        "user@files.example",
        "files.example:0",
        "files.example:65536",
        "files.example=",
        "files.example=10.0.0.1/8",
        "files.example=intranet",
        "127.1",
        "localhost.",
        "::1",
        "[fe80::1%eth0]",
        "b\u00fccher.example",
        "a" * 254,
    ],
)
def test_a_wrong_entry_is_refused_with_the_name_of_the_setting(monkeypatch: pytest.MonkeyPatch, entry: str) -> None:
    monkeypatch.setenv("MILLRACE_SOURCES__HOSTS", f"other.example, {entry}")
    with pytest.raises(InvalidSettingError, match=r"MILLRACE_SOURCES__HOSTS.*entry 2 is not a host: write HOST"):
        load_settings()


def test_a_host_may_have_several_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLRACE_SOURCES__HOSTS", "intranet=10.0.0.0/8,intranet=192.168.0.0/16,intranet:84")
    sources = load_settings().sources
    assert [str(entry.network) for entry in sources.entries_of("intranet", 443)] == ["10.0.0.0/8", "192.168.0.0/16"]
    assert SourcesSettings().entries_of("intranet", 443) == []


@pytest.mark.parametrize("entry", ["flights", "s3://flights/2026", "az://flights", "s3://Flights", "s3://key@flights"])
def test_a_wrong_bucket_is_refused_with_the_name_of_the_setting(monkeypatch: pytest.MonkeyPatch, entry: str) -> None:
    monkeypatch.setenv("MILLRACE_SOURCES__BUCKETS", f"gs://my.flights_1,{entry}")
    with pytest.raises(
        InvalidSettingError, match=r"MILLRACE_SOURCES__BUCKETS.*entry 2 is not a bucket: write s3://BUCKET"
    ):
        load_settings()
