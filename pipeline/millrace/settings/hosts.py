"""Hosts from which data may be loaded: one spelling of each, and the entries of ``MILLRACE_SOURCES__HOSTS``."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

HTTPS_PORT: Final = 443
_FORMS: Final = "write HOST, HOST:PORT, or HOST=NETWORK for private addresses, such as intranet.example=10.0.0.0/8"
_LABEL: Final = r"(?!-)[a-z0-9_-]{1,63}(?<!-)"
_NAME: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_LAST_IS_NUMBER: Final = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)")
_HOST_CHARACTERS_MAX: Final = 253
_BUCKET: Final = re.compile(r"(s3|gs)://[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")


@dataclass(frozen=True, slots=True)
class AllowedHost:
    """A host and port from which data may be loaded. Its addresses are public ones, or in ``network``."""

    host: str
    port: int = HTTPS_PORT
    network: IPNetwork | None = None


def host_name(text: str) -> str:
    """Return a host in lower case; an IPv6 address has no brackets.

    Raises ``ValueError`` for other spellings of a host: an IP address that is not in its usual form (``127.1``,
    ``0177.0.0.1``, ``2130706433``), a dot at the end, letters outside of ASCII.
    """
    host = text.lower()
    if host.startswith("["):
        return str(ipaddress.IPv6Address(host[1:-1] if host.endswith("]") and "%" not in host else ""))
    if _LAST_IS_NUMBER.fullmatch(host):
        return str(ipaddress.IPv4Address(host))
    if len(host) > _HOST_CHARACTERS_MAX or not _NAME.fullmatch(host):
        raise ValueError("not the name of a host")
    return host


def host_and_port(text: str, default_port: int = HTTPS_PORT) -> tuple[str, int]:
    """Return host and port of ``HOST`` or ``HOST:PORT``; an IPv6 address has brackets. Raises ``ValueError``."""
    match = re.fullmatch(r"(\[[^\]]*\]|[^:\[\]]*)(?::([0-9]{1,5}))?", text, re.ASCII)
    port = int(match[2]) if match and match[2] else default_port
    if not match or not 1 <= port <= 65_535:
        raise ValueError("not a host and a port")
    return host_name(match[1]), port


def allowed_host(entry: str) -> AllowedHost:
    """Return the host of an entry; raises ``ValueError`` with the forms that an entry may have."""
    name, separator, network = entry.partition("=")
    try:
        return AllowedHost(*host_and_port(name), ipaddress.ip_network(network) if separator else None)
    except ValueError:
        raise ValueError(_FORMS) from None


def check_hosts(entries: tuple[str, ...]) -> tuple[str, ...]:
    """Return the entries if all are valid; raise ``ValueError`` with the number of the first that is not."""
    for number, entry in enumerate(entries, start=1):
        try:
            allowed_host(entry)
        except ValueError as error:
            raise ValueError(f"entry {number} is not a host: {error}") from None
    return entries


def check_buckets(entries: tuple[str, ...]) -> tuple[str, ...]:
    """Return the entries if each is the URI of a bucket; raise ``ValueError`` otherwise."""
    for number, entry in enumerate(entries, start=1):
        if not _BUCKET.fullmatch(entry):
            raise ValueError(f"entry {number} is not a bucket: write s3://BUCKET or gs://BUCKET")
    return entries
