"""Convert Airflow connections to settings. The hooks of Airflow's providers use the same connections.

``cassandra_default``: host (comma-separated), port, schema (keyspace), login, password. Of its extras only the data
centre in ``load_balancing_policy_args`` is used. ``redis_default``: host, port, login, password; extras ``db``, ``ssl``
and ``ssl_*``. ``kafka_default``: the extras are librdkafka properties, including ``bootstrap.servers``. A
source names its own connection.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from millrace.errors import InvalidSettingError
from millrace.settings import Settings, check_redis_url, load_settings

CASSANDRA, REDIS, KAFKA = "cassandra_default", "redis_default", "kafka_default"

_SSL_ARGUMENTS = ("ssl_cert_reqs", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_check_hostname")
_NOT_FOR_PRODUCERS = frozenset({"group.id", "group.instance.id", "enable.auto.commit", "auto.offset.reset"})
# The provider resolves these from dotted paths to functions, which a setting cannot contain.
_CALLBACKS = frozenset({"error_cb", "throttle_cb", "stats_cb", "log_cb", "oauth_cb", "on_commit", "on_delivery"})

if TYPE_CHECKING:
    from millrace.sources import SourceConnection

logger = logging.getLogger(__name__)


def source_connection(name: str) -> SourceConnection | None:
    """Return the connection of Airflow with this name for a remote source, or None.

    Raises ``InvalidSettingError`` for a connection without a type.
    """
    from millrace.sources import connection_of

    connection = _connection(name)
    if connection is None:
        return None
    values = {
        "conn_type": connection.conn_type,
        "host": connection.host,
        "login": connection.login,
        "password": connection.password,
        "schema": connection.schema,
        "port": connection.port,
        "extra": connection.extra_dejson,
    }
    try:
        return connection_of(name, values)
    except ValueError:
        raise InvalidSettingError(
            f"connection {name} has no type", hint="give it one in Airflow, such as aws"
        ) from None


def airflow_settings() -> Settings:
    """Return the settings for use inside Airflow: its connections override ``MILLRACE_*`` and settings files.

    A connection that is not defined overrides nothing. Raises ``InvalidSettingError`` with the connection's name for
    an option that is not supported and would otherwise be ignored (TLS to Cassandra, Redis Cluster).
    """
    converters = {"cassandra": cassandra_section, "redis": redis_section, "kafka": kafka_section}
    connections = {name: _connection(f"{name}_default") for name in converters}
    return load_settings(**{name: converters[name](given) for name, given in connections.items() if given})


def _connection(conn_id: str) -> Any:
    from airflow.sdk import Connection
    from airflow.sdk.exceptions import AirflowNotFoundException

    try:
        return Connection.get(conn_id)
    except AirflowNotFoundException:
        return None


def cassandra_section(connection: Any) -> dict[str, Any]:
    """Return settings of the section ``cassandra``, only those that the connection defines."""
    extra = connection.extra_dejson
    if extra.get("ssl_options"):
        raise InvalidSettingError(
            f"connection {CASSANDRA} has ssl_options, which are not supported",
            hint="remove them, or reach Cassandra through a tunnel",
        )
    policy = extra.get("load_balancing_policy_args") or {}
    nearest = policy.get("local_dc") or (policy.get("child_load_balancing_policy_args") or {}).get("local_dc")
    values = {
        "contact_points": [host.strip() for host in (connection.host or "").split(",") if host.strip()],
        "port": connection.port,
        "keyspace": connection.schema,
        "username": connection.login,
        "password": connection.password,
        "local_dc": nearest,
    }
    return {name: value for name, value in values.items() if value}


def redis_section(connection: Any) -> dict[str, Any]:
    """Return settings of the section ``redis``: the connection as one URL for ``redis.from_url``."""
    extra = connection.extra_dejson
    if extra.get("cluster"):
        raise InvalidSettingError(
            f"connection {REDIS} names a Redis Cluster, which is not supported", hint="name a single Redis"
        )
    # The provider's hook treats these three values as "no password", because a form cannot omit a field.
    password = "" if str(connection.password).lower() in ("none", "false", "") else connection.password
    user = quote(connection.login or "", safe="")
    credentials = f"{user}:{quote(password, safe='')}@" if password else f"{user}@" if user else ""
    scheme = "rediss" if extra.get("ssl") else "redis"
    url = f"{scheme}://{credentials}{connection.host or '127.0.0.1'}:{connection.port or 6379}/{extra.get('db') or 0}"
    if extra.get("ssl") and (options := {name: extra[name] for name in _SSL_ARGUMENTS if extra.get(name) is not None}):
        url += f"?{urlencode(options)}"
    try:
        return {"url": check_redis_url(url)}
    except ValueError as error:
        raise InvalidSettingError(f"connection {REDIS} has a wrong MILLRACE_REDIS__URL: {error}") from None


def kafka_section(connection: Any) -> dict[str, Any]:
    """Return settings of the section ``kafka``: the bootstrap servers and all further properties for a producer."""
    extra = dict(connection.extra_dejson)
    if callbacks := sorted(_CALLBACKS & set(extra)):
        logger.warning("connection %s: %s ignored; progress uses its own callbacks", KAFKA, ", ".join(callbacks))
    servers = extra.pop("bootstrap.servers", None)
    section = {"bootstrap_servers": servers} if servers else {}
    config = {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in extra.items()
        if name not in _NOT_FOR_PRODUCERS | _CALLBACKS
    }
    return {**section, "config": config} if config else section
