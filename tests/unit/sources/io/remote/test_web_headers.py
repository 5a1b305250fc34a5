"""Headers that a connection of the type http gives."""

from __future__ import annotations

from typing import Any

import pytest

from millrace.errors import InvalidSettingError
from millrace.sources.io.remote.connections import SourceConnection
from millrace.sources.io.remote.web_headers import web_headers


def http(**fields: Any) -> SourceConnection:
    return SourceConnection("c", "http", **fields)


def test_login_and_password_are_those_of_basic_authentication() -> None:
    assert web_headers(http(login="u", password="p"), "h") == {"Authorization": "Basic dTpw"}


def test_a_password_alone_is_a_bearer_token() -> None:
    assert web_headers(http(password="tok"), "h") == {"Authorization": "Bearer tok"}


def test_extras_are_headers() -> None:
    extra = {"X-Key": "k", "headers": {"Accept-Language": "de"}, "timeout": None}
    assert web_headers(http(extra=extra), "h") == {"X-Key": "k", "Accept-Language": "de"}


@pytest.mark.parametrize(
    "host", ["data.example", "https://data.example", "https://data.example/", "data.example:443", "DATA.example"]
)
def test_a_connection_may_name_the_host_of_the_address(host: str) -> None:
    assert web_headers(http(host=host, password="tok"), "data.example") == {"Authorization": "Bearer tok"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"host": "other.example", "password": "s3cr"}, "is for another host"),
        ({"host": "data.example", "port": 8443, "password": "s3cr"}, "is for another host"),
        ({"extra": {"verify": "s3cr"}}, "has the extra verify"),
        ({"extra": {"proxies": {"https": "s3cr"}}}, "has the extra proxies"),
        ({"extra": {"headers": "s3cr"}}, "has headers that are not a map"),
    ],
)
def test_connections_that_cannot_be_used_are_refused_without_their_values(fields: Any, message: str) -> None:
    with pytest.raises(InvalidSettingError, match=message) as raised:
        web_headers(http(**fields), "data.example")
    assert "s3cr" not in str(raised.value)


def test_a_connection_of_another_type_is_refused() -> None:
    with pytest.raises(InvalidSettingError, match="https:// needs a connection of the type http"):
        web_headers(SourceConnection("c", "aws"), "h")
