"""The headers that a connection of the type ``http`` gives for requests of its host."""

from __future__ import annotations

import base64
from typing import Final

from millrace.sources.io.remote.connections import SourceConnection

_NO_HEADERS: Final = frozenset(
    {
        "adapter",
        "allow_redirects",
        "cert",
        "check_response",
        "max_redirects",
        "proxies",
        "proxy",
        "stream",
        "tcp_keep_alive",
        "timeout",
        "trust_env",
        "verify",
    }
)
"""Extras by which Airflow's provider configures its client; all others are headers."""


def web_headers(connection: SourceConnection, host: str) -> dict[str, str]:
    """Return the headers with the credentials of a connection; ``host`` is the host of the address, with its port.

    ``login`` and ``password`` are those of basic authentication, and a ``password`` alone is a bearer token. Extras,
    and those in the extra ``headers``, are further headers. Raises ``InvalidSettingError`` for a connection of another
    type or for another host.
    """
    connection.check_kind("http", "https")
    _check_host(connection, host)
    extra = dict(connection.extra)
    headers = extra.pop("headers", None) or {}
    if not isinstance(headers, dict):
        raise connection.refused("has headers that are not a map", 'write them as {"Name": "value"}')
    if refused := sorted(name for name, value in extra.items() if name in _NO_HEADERS and value):
        raise connection.refused(f"has the extra {refused[0]}, which is not supported", "leave it out")
    given = {**{name: value for name, value in extra.items() if name not in _NO_HEADERS}, **headers}
    return {**_authorization(connection), **{str(name): str(value) for name, value in given.items()}}


def _authorization(connection: SourceConnection) -> dict[str, str]:
    if connection.login:
        pair = f"{connection.login}:{connection.password}".encode()
        return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}
    return {"Authorization": f"Bearer {connection.password}"} if connection.password else {}


def _check_host(connection: SourceConnection, host: str) -> None:
    own = connection.host.partition("://")[2] or connection.host
    own = own.rstrip("/").lower()
    own = f"{own}:{connection.port}" if connection.port and ":" not in own else own
    if own and own.removesuffix(":443") != host.lower().removesuffix(":443"):
        raise connection.refused("is for another host than the address", "name the connection of its host")
