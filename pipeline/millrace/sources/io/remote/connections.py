"""Connections: the credentials and endpoints for remote addresses, by name.

A connection has the fields of an Airflow connection, in the formats of Airflow's providers. Inside Airflow it is one of
Airflow's. Elsewhere, and for a name that Airflow does not know, it is a setting.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from millrace.errors import InvalidSettingError, UsageError
from millrace.settings import Settings, load_settings, variable_name

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,249}")
_FIELDS: Final = frozenset({"conn_type", "host", "login", "password", "schema", "port", "extra", "description"})


@dataclass(frozen=True, slots=True)
class SourceConnection:
    """A connection: its name, its type (``aws``, ``google_cloud_platform``, ``http``), and fields that may be secret.

    ``schema`` is the scheme (``https``) in connections of the type ``http``. A missing field is "", 0 or empty.
    """

    name: str
    kind: str
    host: str = field(default="", repr=False)
    login: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    schema: str = field(default="", repr=False)
    port: int = field(default=0, repr=False)
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def refused(self, problem: str, hint: str) -> InvalidSettingError:
        """Return the error for a connection that cannot be used; ``problem`` shows no value."""
        return InvalidSettingError(f"connection {self.name} {problem}", hint=hint)

    def check_kind(self, kind: str, scheme: str) -> None:
        """Raise ``InvalidSettingError`` unless the connection has the type that addresses of a scheme need."""
        if self.kind != kind:
            raise self.refused(f"has the type {self.kind!r}", f"{scheme}:// needs a connection of the type {kind}")

    def check_extra(self, supported: frozenset[str]) -> None:
        """Raise ``InvalidSettingError`` for an extra with a value that would be ignored."""
        if ignored := sorted(name for name, value in self.extra.items() if value and name not in supported):
            names = ", ".join(sorted(supported))
            raise self.refused(f"has the extra {ignored[0]}, which is not supported", f"supported are {names}")


Resolver = Callable[[str], SourceConnection | None]
"""A function that returns the connection with a name, or None if there is none."""

_resolvers: list[Resolver] = []


def register_connections(resolver: Resolver) -> None:
    """Look up connections with this function first; registering it again changes nothing."""
    if resolver not in _resolvers:
        _resolvers.insert(0, resolver)


def connection_named(name: str, settings: Settings | None = None) -> SourceConnection:
    """Return the connection with this name; raises ``UsageError`` if there is none or its name is not allowed."""
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} is not the name of a connection", hint="give letters, digits, _, . and -")
    for resolver in _resolvers:
        if connection := resolver(name):
            return connection
    variable = variable_name(("sources", "connections", re.sub(r"\W", "_", name)))
    defined = (settings or load_settings()).sources.connections
    text = next((value for key, value in defined.items() if _key(key) == _key(name)), None)
    if text is None:
        raise UsageError(
            f"there is no connection {name}", hint=f"define it in Airflow, or as {variable}, with a URI or JSON"
        )
    return parse_connection(name, text.get_secret_value(), variable)


def parse_connection(name: str, text: str, place: str) -> SourceConnection:
    """Return a connection from the URI or the JSON by which Airflow writes it.

    ``place`` names the setting in the message of an ``InvalidSettingError``, which shows no value.
    """
    try:
        values = json.loads(text) if text.lstrip().startswith("{") else _of_uri(text)
        extra = values.get("extra") or {}
        return connection_of(name, {**values, "extra": json.loads(extra) if isinstance(extra, str) else extra})
    except (ValueError, TypeError, AttributeError):
        # The cause of this error quotes the value, which holds a password.
        raise InvalidSettingError(
            f"{place} is not a connection",
            hint='write a URI like aws://KEY:SECRET@/?region_name=REGION, or JSON like {"conn_type": "aws", ...}',
        ) from None


def connection_of(name: str, values: Mapping[str, Any]) -> SourceConnection:
    """Return a connection from the values of Airflow's fields; raises ``ValueError`` for other fields or types."""
    if set(values) - _FIELDS or not isinstance(values["extra"], Mapping) or not values.get("conn_type"):
        raise ValueError("not the fields of a connection")
    kind = str(values["conn_type"]).replace("-", "_")
    texts = {key: str(values.get(key) or "") for key in ("host", "login", "password", "schema")}
    # Providers once put their name in front of the names of extras, and Airflow still reads these.
    prefix = f"extra__{kind}__"
    extra = {key.removeprefix(prefix): value for key, value in values["extra"].items()}
    return SourceConnection(name, kind, port=int(values.get("port") or 0), extra=extra, **texts)


def _of_uri(uri: str) -> dict[str, Any]:
    """Return the fields of a connection's URI; its query has the extras, or all of them as JSON in ``__extra__``."""
    parts = urlsplit(uri)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    extra = json.loads(query["__extra__"]) if "__extra__" in query else query
    host = parts.netloc.rpartition("@")[2].rpartition(":")[0] if parts.port else parts.netloc.rpartition("@")[2]
    return {
        "conn_type": parts.scheme,
        "host": unquote(host.rstrip(":")),
        "login": unquote(parts.username or ""),
        "password": unquote(parts.password or ""),
        "schema": unquote(parts.path.lstrip("/")),
        "port": parts.port,
        "extra": extra,
    }


def _key(name: str) -> str:
    return re.sub(r"\W", "_", name).lower()
