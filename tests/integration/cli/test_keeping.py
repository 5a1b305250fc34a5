"""The maintenance commands of a store: diff, tag, repair, delete, prune, fsck, evict, ls."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest

from millrace.api import Store
from tests.integration.cli.conftest import Millrace, write_table


@pytest.fixture
def two(millrace: Millrace, tmp_path: Path) -> tuple[str, str, str]:
    """Load a dataset of two versions, the second an append; return its name and their references."""
    name = f"k_{uuid4().hex[:10]}"
    first = millrace("load", name, str(write_table(tmp_path / "a.csv", 300)), "--json").json
    second = millrace("load", name, str(write_table(tmp_path / "b.csv", 200)), "--mode", "append", "--json").json
    assert (second["rows"], second["total_rows"], second["parent"]) == (200, 500, first["version"])
    return name, f"{name}@{first['version']}", f"{name}@{second['version']}"


def test_diff_counts_the_chunks_that_two_versions_share(millrace: Millrace, two: tuple[str, str, str]) -> None:
    name, first, second = two
    found = millrace("diff", first, name, "--json").json
    assert (found["a"], found["b"], found["identical"]) == (first, second, False)
    assert (found["rows_a"], found["rows_b"]) == (300, 500)
    assert (found["common_chunks"], found["only_a_chunks"], found["only_b_chunks"]) == (1, 0, 1)
    assert millrace("diff", name, f"{name}@latest", "--json").json["identical"] is True
    shown = millrace("diff", first, name)
    assert shown.code == 0
    assert "300 → 500" in shown.out


def test_a_tag_can_be_set_moved_and_removed(millrace: Millrace, two: tuple[str, str, str]) -> None:
    name, first, second = two
    assert millrace("tag", first, "good", "--json").json["before"] is None
    assert millrace("show", f"{name}@good", "--json").json["version"] == first.partition("@")[2]
    assert millrace("tag", name, "good", "--json").json["before"] == first.partition("@")[2]
    assert millrace("show", f"{name}@good", "--json").json["version"] == second.partition("@")[2]
    assert millrace("tag", name, "latest").code == 2
    assert millrace("untag", name, "good").code == 0
    gone = millrace("untag", name, "good")
    assert gone.code == 1
    assert "has no tag 'good'" in gone.err
    assert millrace("show", f"{name}@good").code == 1


def test_delete_needs_confirmation_and_refuses_a_tagged_version(millrace: Millrace, two: tuple[str, str, str]) -> None:
    name, first, second = two
    unasked = millrace("delete", name)
    assert unasked.code == 2
    assert "a confirmation needs a terminal: give --yes" in unasked.err
    millrace("tag", first, "kept")
    refused = millrace("delete", name, "--yes", "--json")
    assert refused.code == 2
    assert f"{first} has the tag kept" in refused.json["message"]
    assert len(millrace("versions", name, "--json").json["versions"]) == 2
    millrace("untag", name, "kept")
    would = millrace("delete", name, "--dry-run", "--json").json
    assert sorted(would["marked"]) == sorted([first, second])
    assert len(millrace("versions", name, "--json").json["versions"]) == 2
    done = millrace("delete", name, "--yes", "--now", "--json")
    assert (done.code, done.json["removed_attempts"] > 0) == (0, True)
    assert millrace("show", name).code == 1


def test_prune_lists_its_versions_in_a_dry_run_and_keeps_the_chunks_of_the_newest(
    millrace: Millrace, two: tuple[str, str, str]
) -> None:
    name, first, _ = two
    assert millrace("prune", name).code == 2
    assert millrace("prune", name, "--keep", "0").code == 2
    assert millrace("prune", name, "--keep", "1").code == 2
    assert millrace("prune", name, "--keep", "1", "--dry-run", "--json").json["marked"] == [first]
    assert millrace("prune", name, "--keep", "1", "--yes", "--now", "--json").json["marked"] == [first]
    assert [v["rows"] for v in millrace("versions", name, "--json").json["versions"]] == [500]
    assert millrace("verify", name, "--each-replica").code == 0
    assert millrace("prune", name, "--keep", "1", "--json").json["marked"] == []


def test_fsck_and_repair_find_nothing_on_an_undamaged_store(millrace: Millrace, two: tuple[str, str, str]) -> None:
    found = millrace("fsck", "--json")
    assert (found.code, found.json["missing"], found.json["removed_attempts"]) == (0, [], 0)
    assert millrace("repair", two[0], "--dry-run", "--json").json["under_replicated"] == []
    repaired = millrace("repair", two[0], "--json")
    assert (repaired.code, repaired.json["ok"], repaired.json["copies"]) == (0, True, 0)
    assert millrace("repair", "nothing_of_that_name").code == 1


@pytest.mark.parametrize(
    "command", [("repair",), ("fsck",), ("delete", "NAME", "--yes"), ("prune", "NAME", "--keep", "1")]
)
def test_commands_that_need_every_node_fail_with_one_line_while_one_is_down(
    millrace: Millrace, two: tuple[str, str, str], command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("millrace.store.cluster.session.CassandraSession.missing", lambda _self: ["127.0.0.2"])
    done = millrace(*(two[0] if word == "NAME" else word for word in command))
    assert done.code == 1
    assert done.out == ""
    assert len(done.err.splitlines()) == 1
    assert "needs every node, 127.0.0.2 is down" in done.err


def test_strict_returns_exit_code_3_for_degraded_results(
    millrace: Millrace, two: tuple[str, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("millrace.store.catalogue.row_reader.RowReader.rows_from_both", lambda *_args: None)
    for command in (("versions", two[0]), ("show", two[0]), ("read", two[0]), ("diff", two[1], two[2])):
        assert millrace(*command).code == 0
        done = millrace(*command, "--strict")
        assert done.code == 3, command
        assert "newer version" in done.err


def test_resume_continues_a_killed_load_and_fails_without_one(
    millrace: Millrace, spawn: Callable[..., subprocess.Popen[str]], tmp_path: Path, store: Store
) -> None:
    name = f"k_{uuid4().hex[:10]}"
    source = str(write_table(tmp_path / "big.csv", 200_000))
    load = ("load", name, source, "--chunk-bytes", "65536")
    nothing = millrace(*load, "--resume")
    assert nothing.code == 2
    assert "has no unfinished load of this source with these settings" in nothing.err
    process = spawn(*load)
    deadline = time.monotonic() + 120
    while not store.catalogue.attempts(name):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    (row,) = store.catalogue.attempts(name)
    done = millrace(*load, "--resume", "--json")
    assert (done.code, done.json["run"], done.json["rows"]) == (0, row.run, 200_000)
    other = millrace(*load, "--codec", "none", "--resume", "--run-id", row.run)
    assert other.code == 2


def test_versions_and_show_list_tags_and_the_hints_about_tags_work(
    millrace: Millrace, two: tuple[str, str, str]
) -> None:
    name, first, second = two
    for reference, tag in ((first, "good"), (first, "a_second"), (second, "gone")):
        assert millrace("tag", reference, tag).code == 0
    assert millrace("untag", name, "gone").code == 0
    listed = millrace("versions", name, "--json").json["versions"]
    assert [version["tags"] for version in listed] == [[], ["a_second", "good"]]
    assert millrace("show", f"{name}@good", "--json").json["tags"] == ["a_second", "good"]
    assert millrace("show", name, "--json").json["tags"] == []
    assert "a_second, good" in millrace("versions", name).out
    assert re.search(r"tags +a_second, good", millrace("show", first).out)
    assert re.search(r"tags +none", millrace("show", second).out)
    unknown = millrace("untag", name, "nothing")
    assert unknown.err.endswith(f"has no tag 'nothing': millrace versions {name} shows its tags\n")
    refused = millrace("delete", first)
    (hint,) = re.findall(r"millrace (untag \S+ \S+) first", refused.err)
    assert millrace(*hint.split()).code == 0
    (hint,) = re.findall(r"millrace (untag \S+ \S+) first", millrace("delete", first).err)
    assert millrace(*hint.split()).code == 0
    assert millrace("delete", first).code == 0


def test_delete_and_prune_print_when_data_is_removed_and_how_to_undelete_it(
    millrace: Millrace, two: tuple[str, str, str]
) -> None:
    name, first, _ = two
    would = millrace("prune", name, "--keep", "1", "--dry-run").out
    assert "would no longer be visible to readers; data would be removed in 24 hours" in would
    for command in (("delete", first), ("prune", name, "--keep", "1", "--yes")):
        said = millrace(*command).out
        assert "no longer visible to readers; data is removed in 24 hours" in said
        (hint,) = re.findall(r"millrace (undelete \S+)", said)
        assert hint == f"undelete {first}"
        assert millrace(*hint.split()).code == 0
    said = millrace("delete", first, "--now").out
    assert "24 hours" not in said
    assert "undelete" not in said


@pytest.mark.parametrize(
    "command",
    [
        ("show", "NAME"),
        ("repair", "NAME"),
        ("warm", "NAME"),
        ("evict", "NAME"),
        ("evict", "NAME@1"),
        ("evict", "NAME@2026-11-22T10:00"),
    ],
)
@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
def test_a_command_fails_with_1_and_one_line_for_an_unknown_dataset(
    millrace: Millrace, command: tuple[str, ...], as_json: bool
) -> None:
    words = [word.replace("NAME", "nobody_made_this") for word in command]
    done = millrace(*words, *(["--json"] if as_json else []))
    assert done.code == 1
    assert done.err == "millrace: there is no dataset 'nobody_made_this': millrace ls lists the datasets\n"
    assert (done.json["error"] == "DatasetNotFoundError") if as_json else (done.out == "")


def cached_versions(millrace: Millrace, name: str) -> list[str]:
    entries = millrace("cache", "--json").json["entries"]
    return [entry["version"] for entry in entries if entry["dataset"] == name]


def test_delete_removes_the_version_from_redis_and_nothing_is_left_to_evict(
    millrace: Millrace, two: tuple[str, str, str]
) -> None:
    name = two[0]
    assert millrace("warm", name).code == 0
    assert len(cached_versions(millrace, name)) == 1
    assert millrace("delete", name, "--yes", "--json").json["still_cached"] == ""
    assert cached_versions(millrace, name) == []
    assert millrace("evict", name).code == 1


def test_with_redis_down_delete_succeeds_and_the_next_warming_removes_the_version_from_redis(
    millrace: Millrace, two: tuple[str, str, str]
) -> None:
    name = two[0]
    assert millrace("warm", f"{name}@1").code == 0
    assert millrace("warm", name).code == 0
    done = millrace("delete", f"{name}@1", MILLRACE_REDIS__URL="redis://127.0.0.1:1/0")
    assert done.code == 0
    assert "deleted versions are still in Redis until the next warming: the cache at 127.0.0.1:1 does not" in done.err
    assert len(cached_versions(millrace, name)) == 2
    assert millrace("warm", name).code == 0
    assert len(cached_versions(millrace, name)) == 1


def test_a_version_is_cached_in_both_forms_and_evicted_from_both(millrace: Millrace, two: tuple[str, str, str]) -> None:
    name = two[0]
    for form in ("stored", "raw"):
        report = millrace("warm", name, "--form", form, "--json").json
        assert (report["form"], report["share"], report["complete"]) == (form, 1.0, True)
    entries = [entry for entry in millrace("cache", "--json").json["entries"] if entry["dataset"] == name]
    assert [(entry["form"], entry["split"], entry["columns"]) for entry in entries] == [
        ("raw", None, None),
        ("stored", None, None),
    ]
    assert all((entry["share"], entry["pins"], entry["jobs"]) == (1.0, [], []) for entry in entries)
    assert " raw " in millrace("cache").out
    assert millrace("evict", name, "--json").json["chunks"] > 0
    assert cached_versions(millrace, name) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--split", "train"), "has no split 'train': it has no splits"),
        (("--columns", "nope"), "has no column 'nope'"),
        (("--columns", "nope", "--form", "stored"), "the stored form holds all columns of a chunk: give --form raw"),
    ],
)
def test_a_part_that_does_not_exist_is_refused_in_one_line(
    millrace: Millrace, two: tuple[str, str, str], options: tuple[str, ...], message: str
) -> None:
    done = millrace("warm", two[0], *options)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert message in done.err


def test_evict_of_a_dataset_that_is_not_in_redis_is_no_error(millrace: Millrace, two: tuple[str, str, str]) -> None:
    assert millrace("evict", two[0], "--json").json["chunks"] == 0


def test_ls_filters_by_pattern_and_sorts_by_newest(
    millrace: Millrace, two: tuple[str, str, str], tmp_path: Path
) -> None:
    name = two[0]
    for suffix in ("b", "a"):
        assert millrace("load", f"{name}_{suffix}", str(write_table(tmp_path / "c.csv", 10))).code == 0

    def names(*options: str) -> list[str]:
        return [info["name"] for info in millrace("ls", *options, "--json").json["datasets"]]

    assert names(f"{name}*") == [name, f"{name}_a", f"{name}_b"]
    assert names(f"{name}_?") == [f"{name}_a", f"{name}_b"]
    assert names(f"{name}_[b-z]") == [f"{name}_b"]
    assert names(name) == [name]
    assert names(f"{name}*", "--newest") == [f"{name}_a", f"{name}_b", name]
    assert set(names()) >= {name, f"{name}_a", f"{name}_b"}
    assert names("--newest")[:2] == [f"{name}_a", f"{name}_b"]
    nothing = millrace("ls", f"{name}_x*")
    assert (nothing.code, nothing.out, nothing.err) == (0, "", f"no dataset matches '{name}_x*'\n")


@pytest.mark.parametrize("columns", ["60", "80"])
def test_listings_do_not_wrap_references_on_a_narrow_terminal(
    millrace: Millrace, two: tuple[str, str, str], columns: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, first, second = two
    millrace("tag", first, "good")
    monkeypatch.setattr("millrace.cli.output._width", lambda: int(columns))
    for command in (("versions", name), ("show", first), ("ls",), ("diff", first, second)):
        out = millrace(*command).out
        assert name in out or command[0] == "versions"
        for reference in (first, second):
            if command[0] in ("versions", "diff"):
                assert reference.partition("@")[2] in out
        # A path is one word, which is not wrapped.
        assert all(len(line.rstrip()) <= int(columns) or "/" in line for line in out.splitlines()), (command, out)
