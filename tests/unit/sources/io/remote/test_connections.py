"""Connections of remote sources: the formats of Airflow, where they are looked up, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from millrace.errors import InvalidSettingError, MillraceError, UsageError
from millrace.settings import load_settings, setting_values
from millrace.sources.io.remote import connections
from millrace.sources.io.remote.connections import (
    SourceConnection,
    connection_named,
    connection_of,
    parse_connection,
    register_connections,
)

SECRET = "s3cr/t+"


@pytest.fixture(autouse=True)
def _no_resolvers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_resolvers", [])


def define(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"MILLRACE_SOURCES__CONNECTIONS__{name}", value)


URI = "aws://KEY:s3cr%2Ft%2B@/?region_name=eu-west-1&endpoint_url=http%3A%2F%2F10.0.0.1%3A9000"
JSON = json.dumps(
    {
        "conn_type": "aws",
        "login": "KEY",
        "password": SECRET,
        "extra": {"region_name": "eu-west-1", "endpoint_url": "http://10.0.0.1:9000"},
    }
)
EXTRA_AS_TEXT = json.dumps({**json.loads(JSON), "extra": json.dumps(json.loads(JSON)["extra"])})
OLD_EXTRAS = json.dumps(
    {**json.loads(JSON), "extra": {f"extra__aws__{key}": value for key, value in json.loads(JSON)["extra"].items()}}
)


@pytest.mark.parametrize("text", [URI, JSON, EXTRA_AS_TEXT, OLD_EXTRAS])
def test_all_formats_of_airflow_give_the_same_connection(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    define(monkeypatch, "LAKE", text)
    connection = connection_named("lake")
    assert (connection.name, connection.kind, connection.login, connection.password) == ("lake", "aws", "KEY", SECRET)
    assert connection.extra == {"region_name": "eu-west-1", "endpoint_url": "http://10.0.0.1:9000"}


def test_a_uri_has_host_port_schema_and_extras_as_json() -> None:
    uri = "google-cloud-platform://u:p@h.example:8443/https?__extra__=%7B%22keyfile_dict%22%3A%20%7B%7D%7D"
    connection = parse_connection("c", uri, "X")
    assert connection == SourceConnection(
        "c", "google_cloud_platform", "h.example", "u", "p", "https", 8443, {"keyfile_dict": {}}
    )


@pytest.mark.parametrize("name", ["my_lake", "MY_LAKE", "my-lake", "my.lake"])
def test_a_variable_has_the_name_in_capitals_with_underscores(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    define(monkeypatch, "MY_LAKE", JSON)
    assert connection_named(name).login == "KEY"


def test_a_registered_function_is_asked_first(monkeypatch: pytest.MonkeyPatch) -> None:
    define(monkeypatch, "LAKE", JSON)
    own = connection_of("lake", {"conn_type": "aws", "login": "OTHER", "extra": {}})
    register_connections({"lake": own}.get)
    assert connection_named("lake").login == "OTHER"


def test_registering_twice_changes_nothing() -> None:
    def resolver(name: str) -> None:
        """Know no connection."""

    register_connections(resolver)
    register_connections(resolver)
    assert connections._resolvers == [resolver]


def test_a_name_that_no_function_knows_is_looked_up_in_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    define(monkeypatch, "LAKE", JSON)
    register_connections(lambda name: None)
    assert connection_named("lake").login == "KEY"


def test_an_unknown_connection_is_one_line_that_names_both_places() -> None:
    with pytest.raises(UsageError) as raised:
        connection_named("nothing")
    assert str(raised.value) == (
        "there is no connection nothing: define it in Airflow, or as MILLRACE_SOURCES__CONNECTIONS__NOTHING, "
        "with a URI or JSON"
    )


@pytest.mark.parametrize("name", ["", "a b", "../a", "a\n", "é", "a" * 251])
def test_an_odd_name_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="is not the name of a connection"):
        connection_named(name)


@pytest.mark.parametrize(
    "text",
    [
        f"{SECRET}",
        '{"password": "s3cr/t+"}',
        '{"s3cr/t+": ',
        '{"conn_type": "aws", "s3cr/t+": 1}',
        "aws://a:s3cr%@h:x/",
    ],
)
def test_a_wrong_connection_is_refused_without_its_value(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    define(monkeypatch, "LAKE", text)
    with pytest.raises(InvalidSettingError, match="MILLRACE_SOURCES__CONNECTIONS__LAKE is not a connection") as raised:
        connection_named("lake")
    assert "s3cr" not in str(raised.value)


def test_secrets_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    define(monkeypatch, "LAKE", JSON)
    shown = [repr(connection_named("lake")), repr(load_settings().sources), repr(setting_values())]
    shown += [str(connection_named("lake").refused("has a problem", "mend it"))]
    assert not any("s3cr" in text or "KEY" in text for text in shown)
    (value,) = [value.value for value in setting_values() if value.name == "sources.connections"]
    assert value == {"lake": "set"}


@pytest.mark.parametrize("value", ["s3cr", "[1]", '{"a": ["s3cr"]}'])
def test_a_wrong_setting_of_connections_is_refused_without_its_value(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("MILLRACE_SOURCES__CONNECTIONS", value)
    with pytest.raises(MillraceError, match="MILLRACE_SOURCES__CONNECTIONS") as raised:
        load_settings()
    assert "s3cr" not in str(raised.value)


def of(kind: str, **fields: Any) -> SourceConnection:
    return connection_of("c", {"conn_type": kind, "extra": {}, **fields})


def test_a_connection_of_another_type_is_refused() -> None:
    with pytest.raises(InvalidSettingError, match=r"connection c has the type 'http': s3:// needs .* the type aws"):
        of("http").check_kind("aws", "s3")


def test_an_extra_that_would_be_ignored_is_refused() -> None:
    connection = of("aws", extra={"region_name": "x", "role_arn": "arn:s3cr", "verify": None})
    with pytest.raises(
        InvalidSettingError, match="connection c has the extra role_arn, which is not supported"
    ) as raised:
        connection.check_extra(frozenset({"region_name"}))
    assert "s3cr" not in str(raised.value)
