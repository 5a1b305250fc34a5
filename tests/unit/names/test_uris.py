"""Credentials in URIs are found, and not shown."""

from __future__ import annotations

import pytest

from millrace.names import has_credentials, without_credentials


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("https://user:secret@files.example/a", "https://***@files.example/a"),
        ("s3://key@bucket/a", "s3://***@bucket/a"),
        ("s3://key:sec/ret@bucket/a", "s3://***@bucket/a"),
        ("https://user:/sec/ret@files.example/a", "https://***@files.example/a"),
        ("https://user:80secret@files.example/a", "https://***@files.example/a"),
        ("https://files.example/a?token=secret&b=1", "https://files.example/a?token=***&b=1"),
        ("https://files.example/a?key=secret", "https://files.example/a?key=***"),
        ("https://files.example/a?b=1&subscription-key=secret", "https://files.example/a?b=1&subscription-key=***"),
        ("https://files.example/a;token=secret", "https://files.example/a;token=***"),
        ("https://files.example/a?b=1;password=secret#c", "https://files.example/a?b=1;password=***#c"),
        ("https://files.example/a?token=sec;ret", "https://files.example/a?token=***"),
        ("https://files.example/a?X-Amz-Signature=secret#b", "https://files.example/a?X-Amz-Signature=***#b"),
    ],
)
def test_credentials_are_found_and_masked(uri: str, shown: str) -> None:
    assert has_credentials(uri)
    assert without_credentials(f"the URI '{uri}' is wrong") == f"the URI '{shown}' is wrong"


@pytest.mark.parametrize(
    "uri",
    [
        "https://files.example/a@b",
        "https://files.example:8443/a@b",
        "https://[::1]:443/a@b",
        "s3://bucket/a:b@c",
        "s3://bucket/a?b=c",
        "https://files.example/a?keys=1&monkey=2&keyword=3",
        "s3://bucket/key=1/a.csv",
        "/data/a@b.csv",
        "a.csv",
    ],
)
def test_other_uris_stay_as_they_are(uri: str) -> None:
    assert not has_credentials(uri)
    assert without_credentials(uri) == uri


def test_an_at_sign_in_a_text_that_is_no_url_counts_as_a_password() -> None:
    assert has_credentials("https://[user:secret@files.example/")
    assert has_credentials("https://user:sec\tret@files.example/")
