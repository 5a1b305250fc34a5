"""Loads from S3 and Google Cloud Storage by command line, Python, form and declaration: equal content, refusals."""

from __future__ import annotations

from pathlib import Path

import pytest

from millrace.api import Store
from millrace.declarations import read_sources
from millrace.load import LoadOptions
from millrace.settings import load_settings
from tests.integration.cli.conftest import Millrace
from tests.remote_servers import GoogleServer, S3Server, call_after, reset_after, status_503

Bucket = S3Server | GoogleServer

CSV = b"n,square\n" + b"".join(b"%d,%d\n" % (number, number * number) for number in range(60_000))


def loaded_bytes(millrace: Millrace, name: str, folder: Path) -> bytes:
    done = millrace("read", name, "--output", str(folder / name))
    assert done.code == 0, done.err
    return (folder / name).read_bytes()


def load_declared(store: Store, name: str, uri: str, folder: Path) -> None:
    """Load by the URI and the options of a declared source."""
    path = folder / "sources.yaml"
    path.write_text(f"sources:\n  {name}:\n    uri: {uri}\n    connection: lake\n")
    (entry,) = read_sources(path).entries.values()
    store.load(entry.dataset, entry.uri[0], options=LoadOptions(source=entry.source_options()))


def load_by_form(store: Store, name: str, uri: str) -> None:
    from millrace.airflow.form import load_form
    from millrace.airflow.request import load_options

    fields = {key: field.value for key, field in load_form().items()}
    given = {**fields, "dataset": name, "source": uri, "connection": "lake"}
    source, options = load_options(given, load_settings())
    store.load(name, source, options=options)


def test_the_same_content_is_loaded_from_a_disk_and_from_a_bucket(
    bucket: Bucket, millrace: Millrace, store: Store, tmp_path: Path
) -> None:
    start = "s3" if isinstance(bucket, S3Server) else "gs"
    (tmp_path / "a.csv").write_bytes(CSV)
    uri = bucket.put("d/a.csv", CSV)
    assert millrace("load", f"{start}_disk", str(tmp_path / "a.csv")).code == 0
    done = millrace("load", f"{start}_cli", uri, "--connection", "lake")
    assert done.code == 0, done.err
    store.load(f"{start}_python", uri, connection="lake")
    load_by_form(store, f"{start}_form", uri)
    load_declared(store, f"{start}_declared", uri, tmp_path)
    tables = [store.dataset(f"{start}_{way}").to_table() for way in ("disk", "cli", "python", "form", "declared")]
    assert tables[0].num_rows == 60_000
    assert all(table.equals(tables[0]) for table in tables)
    folder = uri.removesuffix("a.csv")
    assert millrace("load", f"{start}_folder", folder, "--connection", "lake").code == 0
    assert store.dataset(f"{start}_folder").to_table().equals(tables[0])
    assert millrace("load", f"{start}_bytes", uri, "--format", "bytes", "--connection", "lake").code == 0
    assert loaded_bytes(millrace, f"{start}_bytes", tmp_path) == CSV


def test_a_load_with_resets_and_three_503_has_each_byte_once(
    bucket: Bucket, millrace: Millrace, tmp_path: Path
) -> None:
    name = f"faults_{type(bucket).__name__.lower()}"
    uri = bucket.put("a.bin", CSV)
    bucket.proxy.faults[:] = [reset_after(place * 1009) for place in range(10)] + [status_503] * 3
    done = millrace("load", name, uri, "--format", "bytes", "--connection", "lake")
    assert done.code == 0, done.err
    assert bucket.proxy.faults == []
    assert loaded_bytes(millrace, name, tmp_path) == CSV


def test_an_object_that_is_overwritten_in_the_middle_makes_no_version(bucket: Bucket, millrace: Millrace) -> None:
    uri = bucket.put("a.csv", CSV)
    bucket.proxy.faults[:] = [call_after(1000, lambda: bucket.put("a.csv", CSV.replace(b"1", b"2")))]
    done = millrace("load", "overwritten", uri, "--connection", "lake")
    assert done.code == 1
    assert "changed after the load was planned" in done.err
    assert millrace("versions", "overwritten", "--json").code != 0


@pytest.mark.parametrize(
    ("source", "connection", "code", "message"),
    [
        ("s3://lake/a.csv", "wrong", 1, "access is refused (403): check connection wrong"),
        ("s3://lake/a.csv", "nothing", 2, "there is no connection nothing: define it in Airflow, or as MILLRACE_"),
        ("s3://lake/nothing.csv", "lake", 1, "there is nothing at s3://lake/nothing.csv"),
        (
            "gs://lake/a.csv",
            "lake",
            2,
            "has the type 'aws': gs:// needs a connection of the type google_cloud_platform",
        ),
        ("s3://KEY:canary@lake/a.csv", "lake", 2, "has credentials in it"),
    ],
)
def test_what_cannot_be_loaded_is_one_line_and_no_version(
    s3: S3Server, millrace: Millrace, source: str, connection: str, code: int, message: str
) -> None:
    s3.put("a.csv", CSV)
    done = millrace("load", "refused", source, "--connection", connection)
    assert (done.code, done.err.count("\n")) == (code, 1)
    assert message in done.err
    assert "canary" not in done.err
    assert s3.secret not in done.err
    assert millrace("versions", "refused", "--json").code != 0


def test_config_shows_that_a_connection_is_set_and_not_its_value(s3: S3Server, millrace: Millrace) -> None:
    for arguments in (("config",), ("config", "--json")):
        done = millrace(*arguments)
        assert done.code == 0, done.err
        assert "connections" in done.out
        assert s3.secret not in done.out
        assert s3.key not in done.out
