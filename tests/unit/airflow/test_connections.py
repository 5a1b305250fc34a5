"""Airflow connections in the format of their providers are converted to Millrace settings."""

from __future__ import annotations

import json
from typing import Any

import pytest
import redis

from millrace.airflow.connections import airflow_settings, source_connection
from millrace.errors import InvalidSettingError


def connection(monkeypatch: pytest.MonkeyPatch, name: str, **fields: Any) -> None:
    monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", json.dumps(fields))


def url_as_redis_reads_it() -> dict[str, Any]:
    parse: Any = redis.connection.parse_url
    return dict(parse(airflow_settings().redis.url.get_secret_value()))


def test_without_a_connection_the_settings_apply(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLRACE_CASSANDRA__PORT", "19042")
    monkeypatch.setenv("MILLRACE_KAFKA__BOOTSTRAP_SERVERS", "broker:1")
    settings = airflow_settings()
    assert settings.cassandra.port == 19042
    assert settings.kafka.bootstrap_servers == "broker:1"


def test_the_cassandra_connection_overrides_only_the_settings_that_it_gives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MILLRACE_CASSANDRA__PORT", "19042")
    monkeypatch.setenv("MILLRACE_CASSANDRA__REQUEST_TIMEOUT_S", "7")
    connection(
        monkeypatch,
        "cassandra_default",
        conn_type="cassandra",
        host="10.0.0.1, 10.0.0.2",
        port=9043,
        schema="lake",
        login="loader",
        password="s3cret",
        extra={"load_balancing_policy": "DCAwareRoundRobinPolicy", "load_balancing_policy_args": {"local_dc": "east"}},
    )
    cassandra = airflow_settings().cassandra
    assert cassandra.contact_points == ("10.0.0.1", "10.0.0.2")
    assert (cassandra.port, cassandra.keyspace, cassandra.local_dc) == (9043, "lake", "east")
    assert cassandra.username == "loader"
    assert cassandra.password is not None
    assert cassandra.password.get_secret_value() == "s3cret"
    assert cassandra.request_timeout_s == 7


def test_the_data_centre_is_read_from_the_child_of_a_token_aware_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = {
        "child_load_balancing_policy": "DCAwareRoundRobinPolicy",
        "child_load_balancing_policy_args": {"local_dc": "west"},
    }
    extra = {"load_balancing_policy": "TokenAwarePolicy", "load_balancing_policy_args": arguments}
    connection(monkeypatch, "cassandra_default", conn_type="cassandra", host="10.0.0.1", extra=extra)
    assert airflow_settings().cassandra.local_dc == "west"


def test_a_connection_given_as_a_uri_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_CASSANDRA_DEFAULT", "cassandra://10.1.1.1%2C10.1.1.2:9044/lake")
    cassandra = airflow_settings().cassandra
    assert cassandra.contact_points == ("10.1.1.1", "10.1.1.2")
    assert (cassandra.port, cassandra.keyspace) == (9044, "lake")


def test_tls_to_cassandra_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    connection(monkeypatch, "cassandra_default", conn_type="cassandra", host="a", extra={"ssl_options": {"ca": "x"}})
    with pytest.raises(InvalidSettingError, match="cassandra_default has ssl_options"):
        airflow_settings()


def test_an_invalid_keyspace_is_refused_with_its_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    connection(monkeypatch, "cassandra_default", conn_type="cassandra", host="a", schema="No; Keyspace")
    with pytest.raises(InvalidSettingError, match="MILLRACE_CASSANDRA__KEYSPACE"):
        airflow_settings()


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"host": "cache", "port": 6380, "extra": {"db": 4}}, {"host": "cache", "port": 6380, "db": 4}),
        (
            {"host": "cache", "login": "a:b", "password": "p@/ss"},
            {"host": "cache", "port": 6379, "db": 0, "username": "a:b", "password": "p@/ss"},
        ),
        ({"host": "cache", "password": "None"}, {"host": "cache", "port": 6379, "db": 0}),
    ],
)
def test_the_redis_connection_becomes_an_equivalent_url(
    monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], expected: dict[str, Any]
) -> None:
    connection(monkeypatch, "redis_default", conn_type="redis", **fields)
    url_parts = url_as_redis_reads_it()
    assert url_parts == expected


def test_the_redis_connection_keeps_its_tls_options(monkeypatch: pytest.MonkeyPatch) -> None:
    extra = {"ssl": True, "ssl_ca_certs": "/etc/ca.pem", "ssl_cert_reqs": "required"}
    connection(monkeypatch, "redis_default", conn_type="redis", host="cache", extra=extra)
    url_parts = url_as_redis_reads_it()
    assert url_parts["connection_class"] is redis.SSLConnection
    assert (url_parts["ssl_ca_certs"], url_parts["ssl_cert_reqs"]) == ("/etc/ca.pem", "required")


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"host": "cache", "extra": {"db": "first"}}, "not a Redis URL"),
        ({"host": "cache/0?decode_responses=1&x=", "extra": {}}, "the option decode_responses"),
        ({"host": "cache", "extra": {"ssl": True, "ssl_cert_reqs": "perhaps"}}, "the option ssl_cert_reqs"),
    ],
)
def test_an_invalid_redis_connection_is_refused_without_its_password(
    monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], reason: str
) -> None:
    connection(monkeypatch, "redis_default", conn_type="redis", password="secret-word", **fields)
    with pytest.raises(InvalidSettingError, match=f"connection redis_default .*{reason}") as error:
        airflow_settings()
    assert "secret-word" not in str(error.value)


def test_a_redis_cluster_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    connection(monkeypatch, "redis_default", conn_type="redis", host="cache", extra={"cluster": True})
    with pytest.raises(InvalidSettingError, match="Redis Cluster"):
        airflow_settings()


def test_the_kafka_connection_gives_servers_and_every_property_of_a_producer(monkeypatch: pytest.MonkeyPatch) -> None:
    extra = {
        "bootstrap.servers": "a:1,b:2",
        "group.id": "airflow",
        "security.protocol": "SASL_SSL",
        "enable.ssl.certificate.verification": True,
        "error_cb": "some.function",
    }
    connection(monkeypatch, "kafka_default", conn_type="kafka", extra=extra)
    kafka = airflow_settings().kafka
    assert kafka.bootstrap_servers == "a:1,b:2"
    assert kafka.config == {"security.protocol": "SASL_SSL", "enable.ssl.certificate.verification": "true"}


def test_secrets_of_connections_are_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    connection(monkeypatch, "cassandra_default", conn_type="cassandra", host="a", login="u", password="s3cret")
    connection(monkeypatch, "redis_default", conn_type="redis", host="a", password="s3cret")
    connection(monkeypatch, "kafka_default", conn_type="kafka", extra={"sasl.password": "s3cret"})
    assert "s3cret" not in repr(airflow_settings())


def test_a_connection_of_a_source_without_a_type_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    connection(monkeypatch, "lake", login="KEY", password="s3cr-canary")
    with pytest.raises(InvalidSettingError, match="connection lake has no type: give it one") as raised:
        source_connection("lake")
    assert "canary" not in str(raised.value)
