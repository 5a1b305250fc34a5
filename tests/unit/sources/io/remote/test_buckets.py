"""Stores for buckets: the connections and environments from which they are made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import obstore.store
import pytest

from millrace.errors import InvalidSettingError, UsageError
from millrace.settings import load_settings
from millrace.sources.io.remote import buckets
from millrace.sources.io.remote.buckets import bucket_files
from millrace.sources.io.remote.connections import SourceConnection

KEYS = {"login": "KEY", "password": "s3cr"}


class Made(dict[str, Any]):
    """The arguments with which a store was made."""


@pytest.fixture
def endpoints(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record the endpoints that are checked, and make no store."""
    checked: list[str] = []
    monkeypatch.setattr(buckets, "check_endpoint", lambda url, settings: checked.append(url))
    monkeypatch.setattr(obstore.store, "S3Store", lambda bucket, **given: Made(given, bucket=bucket))
    monkeypatch.setattr(obstore.store, "GCSStore", lambda bucket, **given: Made(given, bucket=bucket))
    for name in ("AWS_REGION", "AWS_ENDPOINT_URL", "STORAGE_EMULATOR_HOST"):
        monkeypatch.delenv(name, raising=False)
    return checked


def made(scheme: str, connection: SourceConnection | None = None) -> Made:
    store = bucket_files(scheme, "lake", connection, load_settings())._opened()
    assert isinstance(store, Made)
    return store


def aws(extra: dict[str, Any], **fields: str) -> SourceConnection:
    return SourceConnection("c", "aws", extra=extra, **fields)


def google(**extra: Any) -> SourceConnection:
    return SourceConnection("c", "google_cloud_platform", extra=extra)


def test_keys_and_token_of_a_connection_are_used_alone(endpoints: list[str]) -> None:
    store = made("s3", aws({"region_name": "eu-west-1", "aws_session_token": "tok"}, **KEYS))
    assert store["credential_provider"]() == {
        "access_key_id": "KEY",
        "secret_access_key": "s3cr",
        "token": "tok",
        "expires_at": None,
    }
    assert store["region"] == "eu-west-1"
    assert endpoints == ["https://s3.eu-west-1.amazonaws.com"] == [store["endpoint"]]


def test_keys_may_be_extras(endpoints: list[str]) -> None:
    store = made("s3", aws({"aws_access_key_id": "KEY", "aws_secret_access_key": "s3cr"}))
    assert store["credential_provider"]()["access_key_id"] == "KEY"


def test_a_connection_without_keys_uses_the_environment(endpoints: list[str]) -> None:
    assert made("s3", aws({}))["credential_provider"] is None


def test_a_bucket_can_be_read_without_signature(endpoints: list[str]) -> None:
    assert made("s3", aws({"config_kwargs": {"signature_version": "unsigned"}}))["skip_signature"] is True


def test_retries_of_the_client_are_switched_off(endpoints: list[str]) -> None:
    for store in (made("s3"), made("gs")):
        assert store["retry_config"]["max_retries"] == 0
        assert store["client_options"]["allow_http"] is False


def test_the_endpoint_of_a_connection_is_checked(endpoints: list[str]) -> None:
    store = made("s3", aws({"endpoint_url": "http://10.0.0.1:9000/"}, **KEYS))
    assert endpoints == ["http://10.0.0.1:9000"] == [store["endpoint"]]
    assert store["client_options"]["allow_http"] is True


def test_the_endpoint_of_the_environment_is_not_used_with_a_connection(
    monkeypatch: pytest.MonkeyPatch, endpoints: list[str]
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://other.example")
    made("s3")
    made("s3", aws({}, **KEYS))
    assert endpoints == ["https://other.example", "https://s3.us-east-1.amazonaws.com"]


def test_the_key_of_a_service_account_is_a_map_a_text_or_a_file(endpoints: list[str], tmp_path: Path) -> None:
    key = {"client_email": "a@b", "private_key": "s3cr"}
    (tmp_path / "key.json").write_text(json.dumps(key))
    for connection in (
        google(keyfile_dict=key),
        google(keyfile_dict=json.dumps(key)),
        google(key_path=str(tmp_path / "key.json")),
    ):
        assert json.loads(made("gs", connection)["service_account_key"]) == key
    assert set(endpoints) == {"https://storage.googleapis.com"}


def test_the_endpoint_that_a_key_names_is_checked(endpoints: list[str]) -> None:
    store = made("gs", google(keyfile_dict={"gcs_base_url": "http://10.0.0.1:4443", "disable_oauth": True}))
    assert endpoints == ["http://10.0.0.1:4443"] == [store["base_url"]]


def test_the_emulator_of_the_environment_is_checked(monkeypatch: pytest.MonkeyPatch, endpoints: list[str]) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "localhost:4443")
    made("gs")
    assert endpoints == ["http://localhost:4443"]


@pytest.mark.parametrize(
    ("scheme", "connection", "message"),
    [
        ("s3", google(), "has the type 'google_cloud_platform'"),
        ("gs", aws({}, **KEYS), "has the type 'aws'"),
        ("s3", aws({"role_arn": "arn:s3cr"}, **KEYS), "has the extra role_arn"),
        ("s3", aws({"profile_name": "s3cr"}), "has the extra profile_name"),
        ("s3", aws({"config_kwargs": {"proxies": "s3cr"}}), "has config_kwargs"),
        ("s3", aws({}, login="KEY"), "has a key without its secret"),
        ("gs", google(key_path="/nothing/s3cr"), "has a key_path that cannot be read"),
        ("gs", google(keyfile_dict="s3cr"), "the key of connection c is not JSON"),
        ("gs", google(impersonation_chain="s3cr"), "has the extra impersonation_chain"),
    ],
)
def test_connections_that_cannot_be_used_are_refused_without_their_values(
    endpoints: list[str], scheme: str, connection: SourceConnection, message: str
) -> None:
    with pytest.raises(InvalidSettingError, match=message) as raised:
        made(scheme, connection)
    assert "s3cr" not in str(raised.value)


@pytest.mark.parametrize("endpoint", ["http://169.254.169.254", "https://other.example", "http://127.0.0.1:9000"])
def test_an_endpoint_that_is_not_listed_is_refused_before_it_is_used(endpoint: str) -> None:
    with pytest.raises(UsageError, match="MILLRACE_SOURCES__HOSTS"):
        bucket_files("s3", "lake", aws({"endpoint_url": endpoint}, **KEYS), load_settings()).facts("a")


def test_a_region_that_is_a_number_is_a_text(endpoints: list[str]) -> None:
    assert made("s3", aws({"region_name": 5}, **KEYS))["region"] == "5"
