"""Stores of obstore for a bucket, made from a connection or from the usual environment of the cloud."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from millrace.errors import InvalidSettingError
from millrace.settings import Settings
from millrace.sources.io.remote.allowed import check_endpoint
from millrace.sources.io.remote.connections import SourceConnection
from millrace.sources.io.remote.object_store import CLIENT_OPTIONS, RETRY_OPTIONS, ObjectFiles

_AWS_EXTRAS: Final = frozenset(
    {"aws_access_key_id", "aws_secret_access_key", "aws_session_token", "region_name", "endpoint_url", "config_kwargs"}
)
_GOOGLE_EXTRAS: Final = frozenset({"keyfile_dict", "key_path", "project", "num_retries", "scope"})
_GOOGLE_ENDPOINT: Final = "https://storage.googleapis.com"
_REGION: Final = "us-east-1"


def bucket_files(scheme: str, bucket: str, connection: SourceConnection | None, settings: Settings) -> ObjectFiles:
    """Return access to the objects of a bucket.

    Raises ``InvalidSettingError`` for a connection of another type or with an extra that is not supported, and
    ``UsageError`` for an endpoint that may not be used.
    """
    new_store = {"s3": _s3_store, "gs": _google_store}[scheme]
    usual = {"s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY", "gs": "GOOGLE_APPLICATION_CREDENTIALS"}[scheme]
    hint = f"check connection {connection.name}" if connection else f"name a connection (--connection), or set {usual}"
    return ObjectFiles(new_store(bucket, connection, settings), f"{scheme}://{bucket}", hint)


def _s3_store(bucket: str, connection: SourceConnection | None, settings: Settings) -> Callable[[], Any]:
    extra: dict[str, Any] = {}
    if connection:
        connection.check_kind("aws", "s3")
        connection.check_extra(_AWS_EXTRAS)
        extra = dict(connection.extra)
    region = str(extra.get("region_name") or "") or _first_variable("AWS_REGION", "AWS_DEFAULT_REGION") or _REGION
    endpoint = extra.get("endpoint_url")
    if not connection:
        endpoint = _first_variable("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
    suffix = ".cn" if region.startswith("cn-") else ""
    endpoint = str(endpoint or f"https://s3.{region}.amazonaws.com{suffix}").rstrip("/")
    config = {"region": region, "skip_signature": True} if _is_anonymous(connection) else {"region": region}
    keys = _aws_keys(connection) if connection else None

    def new_store() -> Any:
        from obstore.store import S3Store

        check_endpoint(endpoint, settings.sources)
        # A provider of the keys, because explicit keys would be mixed with a token from the environment, and shown.
        return S3Store(
            bucket,
            endpoint=endpoint,
            virtual_hosted_style_request=False,
            credential_provider=(lambda: keys) if keys else None,  # type: ignore[arg-type]
            client_options=_client_options(endpoint),
            retry_config=RETRY_OPTIONS,  # type: ignore[arg-type]
            **config,
        )

    return new_store


def _is_anonymous(connection: SourceConnection | None) -> bool:
    if connection is None:
        return False
    arguments = connection.extra.get("config_kwargs") or {}
    if arguments not in ({}, {"signature_version": "unsigned"}):
        raise connection.refused("has config_kwargs, which are not supported", "leave them out")
    return bool(arguments)


def _aws_keys(connection: SourceConnection) -> dict[str, Any] | None:
    extra = connection.extra
    key = connection.login or extra.get("aws_access_key_id")
    secret = connection.password or extra.get("aws_secret_access_key")
    if bool(key) != bool(secret):
        raise connection.refused("has a key without its secret", "give login and password, or neither")
    if not key:
        return None
    token = extra.get("aws_session_token")
    return {"access_key_id": key, "secret_access_key": secret, "token": token, "expires_at": None}


def _google_store(bucket: str, connection: SourceConnection | None, settings: Settings) -> Callable[[], Any]:
    config = _google_key(connection) if connection else {}
    endpoint = _google_endpoint(config.get("service_account_key"), connection).rstrip("/")

    def new_store() -> Any:
        from obstore.store import GCSStore

        check_endpoint(endpoint, settings.sources)
        return GCSStore(
            bucket,
            base_url=endpoint,
            client_options=_client_options(endpoint),
            retry_config=RETRY_OPTIONS,  # type: ignore[arg-type]
            **config,
        )

    return new_store


def _google_key(connection: SourceConnection) -> dict[str, Any]:
    connection.check_kind("google_cloud_platform", "gs")
    connection.check_extra(_GOOGLE_EXTRAS)
    key, path = connection.extra.get("keyfile_dict"), connection.extra.get("key_path")
    if path:
        try:
            key = Path(str(path)).read_text(encoding="utf-8")
        except OSError:
            raise connection.refused("has a key_path that cannot be read", "check the path and its rights") from None
    if not key:
        return {}
    return {"service_account_key": key if isinstance(key, str) else json.dumps(key)}


def _google_endpoint(key: str | None, connection: SourceConnection | None) -> str:
    """Return the endpoint that the key of a service account names, else that of the environment or of Google."""
    if key:
        return str(_parsed(key, connection).get("gcs_base_url") or _GOOGLE_ENDPOINT)
    emulator = _first_variable("GOOGLE_BASE_URL", "STORAGE_EMULATOR_HOST") or _GOOGLE_ENDPOINT
    return emulator if "://" in emulator else f"http://{emulator}"


def _parsed(key: str, connection: SourceConnection | None) -> dict[str, Any]:
    try:
        return dict(json.loads(key))
    except (ValueError, TypeError):
        place = f"connection {connection.name}" if connection else "the environment"
        raise InvalidSettingError(
            f"the key of {place} is not JSON", hint="give the file of the service account"
        ) from None


def _client_options(endpoint: str) -> Any:
    return {**CLIENT_OPTIONS, "allow_http": endpoint.startswith("http://")}


def _first_variable(*names: str) -> str:
    return next((value for name in names if (value := os.environ.get(name))), "")
