"""Declared sources and the form may load files below the allowed folders, and remote URIs that are allowed."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import pytest

from millrace.errors import SourceChangedError, SourceNotFoundError, SourceUnreadableError, UsageError
from millrace.settings import SourcesSettings, load_settings
from millrace.sources import SourceOptions, allowed_roots, allowed_source, check_below_roots, plan_source
from tests.unit.sources.allowed_folders import roots

__all__ = ["roots"]


def test_an_absolute_path_relative_path_or_url_below_a_root_is_allowed(tmp_path: Path, roots: tuple[str, ...]) -> None:
    expected = str(tmp_path / "inbox" / "a.csv")
    assert allowed_source(expected, roots) == expected
    assert allowed_source("a.csv", roots) == expected
    assert allowed_source(f"file://{expected}", roots) == expected
    assert allowed_source("deep/b.csv", roots) == str(tmp_path / "demo" / "deep" / "b.csv")
    assert allowed_source("deep", roots) == str(tmp_path / "demo" / "deep")
    assert allowed_source(roots[0], roots) == roots[0]


def test_a_pattern_below_a_root_is_allowed(tmp_path: Path, roots: tuple[str, ...]) -> None:
    assert allowed_source("deep/*.csv", roots) == str(tmp_path / "demo" / "deep" / "*.csv")
    assert allowed_source(f"{roots[1]}/**/*.csv", roots) == f"{roots[1]}/**/*.csv"


@pytest.mark.parametrize(
    "source",
    [
        "/etc/passwd",
        "{tmp}/private/secret.csv",
        "{tmp}/inbox/../private/secret.csv",
        "../private/secret.csv",
        "{tmp}/private/*.csv",
        "{tmp}/inbox/*/../../private/*.csv",
        "{tmp}/inboxes/a.csv",
        "/",
        "file://elsewhere/a.csv",
        "az://bucket/a.csv",
        "gopher://bucket/a.csv",
        "memory://a.csv",
        "-",
        " ",
        "a\0.csv",
    ],
)
def test_a_source_outside_of_the_roots_is_refused_with_the_allowed_folders(
    tmp_path: Path, roots: tuple[str, ...], source: str
) -> None:
    with pytest.raises(UsageError) as refused:
        allowed_source(source.format(tmp=tmp_path), roots)
    assert all(root in str(refused.value) for root in roots)


def test_a_link_that_leads_out_of_the_roots_is_refused(tmp_path: Path, roots: tuple[str, ...]) -> None:
    inbox = tmp_path / "inbox"
    (inbox / "file").symlink_to(tmp_path / "private" / "secret.csv")
    (inbox / "folder").symlink_to(tmp_path / "private")
    (inbox / "again").symlink_to("folder")
    for source in ("file", "folder", "folder/secret.csv", "folder/*.csv", "again/secret.csv"):
        with pytest.raises(UsageError, match="outside of the folders"):
            allowed_source(source, roots)


def test_a_link_from_one_root_into_another_is_followed(tmp_path: Path, roots: tuple[str, ...]) -> None:
    (tmp_path / "inbox" / "b.csv").symlink_to(tmp_path / "demo" / "deep" / "b.csv")
    assert allowed_source("b.csv", roots) == str(tmp_path / "demo" / "deep" / "b.csv")


def test_a_root_may_itself_be_a_link(tmp_path: Path, roots: tuple[str, ...]) -> None:
    (tmp_path / "link").symlink_to(roots[0])
    assert allowed_source("a.csv", [str(tmp_path / "link")]) == str(tmp_path / "inbox" / "a.csv")


def test_a_relative_path_in_no_root_is_not_found(roots: tuple[str, ...]) -> None:
    with pytest.raises(SourceNotFoundError, match=r"there is no 'missing\.csv' in"):
        allowed_source("missing.csv", roots)


def test_an_existing_file_name_with_brackets_is_not_a_pattern(tmp_path: Path, roots: tuple[str, ...]) -> None:
    (tmp_path / "inbox" / "a[1].csv").write_text("x\n1\n")
    assert allowed_source("a[1].csv", roots) == str(tmp_path / "inbox" / "a[1].csv")


@pytest.fixture
def odd_root(tmp_path: Path) -> str:
    for name, value in (("in[1]", "right"), ("in1", "wrong")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.csv").write_text(f"x\n{value}\n")
    return str(tmp_path / "in[1]")


@pytest.mark.parametrize("source", ["*.csv", "a.csv", ".", "{root}/*.csv", "{root}/a.csv", "file://{encoded}/*.csv"])
def test_a_root_name_with_brackets_is_not_a_pattern(odd_root: str, source: str) -> None:
    named = source.format(root=odd_root, encoded=odd_root.replace("[", "%5B").replace("]", "%5D"))
    plan = plan_source(allowed_source(named, [odd_root]))
    assert [file.uri for file in plan.files] == [f"{odd_root}/a.csv"]


@pytest.mark.parametrize("pattern", ["in/*/s.csv", "in/**/*.csv", "in/l*/*", "{root}/in/*/*.csv", "**/s.csv", "**"])
def test_a_pattern_that_matches_outside_of_the_roots_is_refused(tmp_path: Path, pattern: str) -> None:
    root = tmp_path / "root"
    (root / "in" / "a").mkdir(parents=True)
    (root / "in" / "a" / "t.csv").write_text("id\n1\n")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "s.csv").write_text("id\n2\n")
    (root / "in" / "link").symlink_to(tmp_path / "out")
    with pytest.raises(SourceUnreadableError, match="outside of the source"):
        plan_source(allowed_source(pattern.format(root=root), [str(root)]))


def test_a_pattern_through_a_cycle_of_links_is_refused_in_bounded_time(tmp_path: Path) -> None:
    (tmp_path / "ring").mkdir()
    for name in ("a", "b", "c"):
        (tmp_path / "ring" / name).symlink_to(".")
    begun = time.monotonic()
    with pytest.raises(SourceUnreadableError, match="leads back to a folder above it"):
        plan_source(allowed_source("ring/**/*.csv", [str(tmp_path)]))
    assert time.monotonic() - begun < 10


def test_a_pattern_is_resolved_in_the_root_that_has_a_match(tmp_path: Path, roots: tuple[str, ...]) -> None:
    assert allowed_source("*/b.csv", roots) == f"{roots[1]}/*/b.csv"
    with pytest.raises(SourceNotFoundError):
        allowed_source("*.parquet", roots)


@pytest.mark.parametrize(
    "source",
    [
        "../../etc/passwd",
        "../../../../../../../../etc/passwd",
        "/etc/passwd",
        "/dev/zero",
        "/proc/self/mem",
        "/proc/self/root/etc/passwd",
        "file:///etc/passwd",
        "file:///%2e%2e/etc/passwd",
        "~root/a.csv",
        "out",
        "out_folder/passwd",
        "zero",
        "memory",
        "loop",
        "fifo",
        "socket",
        "a\nb.csv",
        "%n%n.csv",
        "file://{inbox}/a.csv%00",
        "file://{inbox}/*.csv%00",
    ],
)
def test_a_path_that_does_not_end_in_a_regular_file_below_a_root_is_refused_at_once(
    tmp_path: Path, roots: tuple[str, ...], source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox = tmp_path / "inbox"
    monkeypatch.chdir(inbox)  # the path of a socket must be short
    links = {
        "out": "/etc/passwd",
        "out_folder": "/etc",
        "zero": "/dev/zero",
        "memory": "/proc/self/mem",
        "loop": "loop",
    }
    for name, target in links.items():
        (inbox / name).symlink_to(target)
    os.mkfifo(inbox / "fifo")
    begun = time.monotonic()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
        with pytest.raises((UsageError, SourceNotFoundError, SourceUnreadableError)) as refused:
            plan_source(allowed_source(source.format(inbox=inbox), roots))
    assert "\n" not in str(refused.value)
    assert time.monotonic() - begun < 2


@pytest.mark.parametrize("name", ["n\nl.csv", "%n%s%p.csv", "..csv", "a;b|c.csv"])
def test_an_odd_name_of_a_file_below_a_root_is_a_name(tmp_path: Path, roots: tuple[str, ...], name: str) -> None:
    path = tmp_path / "inbox" / name
    path.write_text("x\n1\n")
    plan = plan_source(allowed_source(name, roots))
    check_below_roots(plan.files, roots)
    assert [file.uri for file in plan.files] == [str(path)]


def test_a_link_that_is_swapped_in_after_the_check_of_the_path_is_refused(
    tmp_path: Path, roots: tuple[str, ...]
) -> None:
    source = allowed_source("deep/b.csv", roots)
    (tmp_path / "demo" / "deep").rename(tmp_path / "demo" / "away")
    (tmp_path / "private" / "b.csv").write_text("x\n4\n")
    (tmp_path / "demo" / "deep").symlink_to(tmp_path / "private")
    plan = plan_source(source)
    with pytest.raises(SourceUnreadableError, match=r"b\.csv leads out of .*inbox or .*demo"):
        check_below_roots(plan.files, roots)


def test_a_link_that_is_swapped_out_again_before_the_check_of_the_files_is_noticed(
    tmp_path: Path, roots: tuple[str, ...]
) -> None:
    source = allowed_source("a.csv", roots)
    path = tmp_path / "inbox" / "a.csv"
    path.rename(tmp_path / "a.csv")
    path.symlink_to(tmp_path / "private" / "secret.csv")
    plan = plan_source(source)
    path.unlink()
    (tmp_path / "a.csv").rename(path)
    with pytest.raises(SourceChangedError):
        check_below_roots(plan.files, roots)


def test_files_and_empty_folders_below_the_roots_pass_the_check(tmp_path: Path, roots: tuple[str, ...]) -> None:
    (tmp_path / "inbox" / "empty").mkdir()
    (tmp_path / "inbox" / "b.csv").symlink_to(tmp_path / "demo" / "deep" / "b.csv")
    check_below_roots(plan_source(allowed_source("b.csv", roots)).files, roots)
    (tmp_path / "inbox" / "b.csv").unlink()
    check_below_roots(plan_source(roots[0], SourceOptions(format="bytes")).files, roots)


def test_a_remote_uri_is_allowed_by_the_settings_and_stays_as_it_is(
    monkeypatch: pytest.MonkeyPatch, roots: tuple[str, ...]
) -> None:
    monkeypatch.setenv("MILLRACE_SOURCES__HOSTS", "files.example")
    for uri in ("s3://bucket/a.csv", "gs://bucket/*.csv", "https://files.example/a.csv?b=c"):
        assert allowed_source(uri, roots) == uri
    settings = SourcesSettings(buckets=("s3://flights",))
    for uri in ("s3://bucket/a.csv", "gs://flights/a.csv", "https://files.example/a.csv", "http://files.example/a.csv"):
        with pytest.raises(UsageError):
            allowed_source(uri, roots, settings)


@pytest.mark.parametrize(
    "uri",
    [
        "s3://key:canary@bucket/a.csv",
        "https://user:canary@files.example/a.csv",
        "gopher://user:canary@files.example/a.csv",
        "https://files.example/a.csv?token=canary",
    ],
)
def test_a_remote_uri_with_credentials_is_refused_and_not_shown(roots: tuple[str, ...], uri: str) -> None:
    with pytest.raises(UsageError, match="the URI has credentials") as refused:
        allowed_source(uri, roots, SourcesSettings(hosts=("files.example",)))
    assert "canary" not in repr((str(refused.value), refused.value.context))


def test_without_configured_roots_the_inbox_and_the_demo_are_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    home = os.environ["MILLRACE_HOME"]
    assert allowed_roots(load_settings()) == (f"{home}/inbox", f"{home}/demo")
    monkeypatch.setenv("MILLRACE_SOURCES__ROOTS", "/data,/more")
    assert allowed_roots(load_settings()) == ("/data", "/more")
