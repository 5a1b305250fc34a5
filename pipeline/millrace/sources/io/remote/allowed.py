"""The sources that may be loaded: the hosts, networks and buckets from which data may be loaded.

Each host must be listed in ``MILLRACE_SOURCES__HOSTS``, except the own endpoints of S3 and Google Cloud Storage. All
addresses to which a host resolves must be public, or in the network with which the host is listed.
"""

from __future__ import annotations

import ipaddress
from typing import Final
from urllib.parse import urlsplit

from millrace.errors import SourceNotFoundError, UsageError
from millrace.settings import SourcesSettings
from millrace.sources.io.address import OBJECT_STORES
from millrace.sources.io.remote.addresses import Resolve, WebAddress, is_public, parse_url, refuse_credentials, resolve

_OWN_ENDPOINTS: Final = (".amazonaws.com", ".amazonaws.com.cn", ".storage.googleapis.com")
_HOSTS: Final = "MILLRACE_SOURCES__HOSTS"


def check_uri(uri: str, settings: SourcesSettings) -> None:
    """Raise ``UsageError`` for a remote URI that may not be loaded, as far as that is known without the network."""
    refuse_credentials(uri)
    scheme = uri.partition("://")[0].lower()
    if scheme in OBJECT_STORES:
        check_bucket(uri, settings)
    else:
        check_listed(parse_url(uri), settings)


def check_bucket(uri: str, settings: SourcesSettings) -> None:
    """Raise ``UsageError`` for a bucket that is not one of ``settings.buckets``; without any, all are allowed."""
    parts = urlsplit(uri)
    bucket = f"{parts.scheme}://{parts.netloc}"
    if settings.buckets and bucket not in settings.buckets:
        raise UsageError(
            f"{bucket} is not in MILLRACE_SOURCES__BUCKETS", hint="load from a bucket that is listed, or add this one"
        )


def check_listed(address: WebAddress, settings: SourcesSettings) -> None:
    """Raise ``UsageError`` for a host that is not listed, and for an IP address that is not allowed."""
    if not settings.entries_of(address.host, address.port):
        raise UsageError(
            f"the host {address.authority} is not in {_HOSTS}", hint=f"add {address.authority} to it, if you trust it"
        )
    try:
        ipaddress.ip_address(address.host)
    except ValueError:
        return
    _check_addresses(address, [address.host], settings)


def checked_addresses(
    address: WebAddress, settings: SourcesSettings, resolve_host: Resolve = resolve, *, is_listed: bool = False
) -> list[str]:
    """Return the IP addresses of a URL's host, all of them allowed; a connection must go to one of these.

    ``is_listed`` is for a host that needs no entry. Raises ``UsageError`` for a host that is not listed, and where any
    of its addresses is neither public nor in the network of an entry.
    """
    if not is_listed:
        check_listed(address, settings)
    resolved = list(resolve_host(address.host, address.port))
    if not resolved:
        raise SourceNotFoundError(f"the host {address.host} has no address", hint="check the spelling of its name")
    _check_addresses(address, resolved, settings)
    return resolved


def _check_addresses(address: WebAddress, resolved: list[str], settings: SourcesSettings) -> None:
    networks = [entry.network for entry in settings.entries_of(address.host, address.port) if entry.network]
    for text in resolved:
        ip = ipaddress.ip_address(text)
        if not is_public(ip) and not any(ip in network for network in networks):
            raise UsageError(
                f"{address.authority} has the address {text}, which is not public",
                hint=f"add {address.authority}=NETWORK with its network to {_HOSTS}, if you trust it",
            )


def check_endpoint(url: str, settings: SourcesSettings, resolve_host: Resolve = resolve) -> None:
    """Raise ``UsageError`` unless the endpoint of an object store may be used.

    The own endpoints of the providers need no entry in the hosts. ``http://`` is for hosts that are listed with their
    network only.
    """
    address = parse_url(url, schemes=("https", "http"))
    is_own = address.scheme == "https" and f".{address.host}".endswith(_OWN_ENDPOINTS) and address.port == 443
    if address.scheme == "http" and not any(entry.network for entry in settings.entries_of(address.host, address.port)):
        raise UsageError(
            f"the endpoint {address} is not encrypted",
            hint=f"use https://, or add {address.authority}=NETWORK to {_HOSTS} for a private one",
        )
    checked_addresses(address, settings, resolve_host, is_listed=is_own)
