"""The form proposes the newest files of the inbox, accepts each of them, and lists a huge inbox in bounded time."""

from __future__ import annotations

import os
import time
from pathlib import Path

from millrace.airflow.inbox import newest_names
from millrace.sources import allowed_source


def changed_at(path: Path, time_s: int) -> None:
    path.touch() if path.suffix else path.mkdir()
    os.utime(path, (time_s, time_s))


def test_the_fifty_newest_names_of_all_folders_are_proposed(tmp_path: Path) -> None:
    inbox, demo = tmp_path / "inbox", tmp_path / "demo"
    inbox.mkdir()
    demo.mkdir()
    for number in range(60):
        changed_at((inbox, demo)[number % 2] / f"part-{number:02}.csv", 1_000_000 + number)
    changed_at(inbox / "folder", 2_000_000)
    names = newest_names([str(inbox), str(demo)])
    assert names == ["folder", *(f"part-{number:02}.csv" for number in range(59, 10, -1))]
    assert len(names) == 50


def test_a_name_in_both_folders_is_proposed_once(tmp_path: Path) -> None:
    for folder in ("inbox", "demo"):
        (tmp_path / folder).mkdir()
        changed_at(tmp_path / folder / "a.csv", 1_000_000)
    assert newest_names([str(tmp_path / "inbox"), str(tmp_path / "demo")]) == ["a.csv"]


def test_every_proposed_name_is_accepted_as_that_file(tmp_path: Path) -> None:
    root = tmp_path / "inbox"
    root.mkdir()
    outside = tmp_path / "secret.csv"
    outside.touch()
    good = ["a b.csv", "a=b.csv", "100%25.csv", "ä.csv", "c:d.csv", "q'\".csv"]
    for name in [*good, ".hidden.csv", "_left.csv", "~user.csv", "-.csv", "x*.csv", "x?.csv", "x[1].csv", "n\nl.csv"]:
        (root / name).touch()
    (root / "link.csv").symlink_to(outside)
    (root / os.fsdecode(b"\xff.csv")).touch()
    names = newest_names([str(root)])
    assert sorted(names) == sorted(good)
    for name in names:
        assert allowed_source(name, [str(root)]) == str(root / name)


def test_a_missing_folder_gives_no_names(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert newest_names([str(tmp_path / "missing"), str(tmp_path / "file")]) == []


def test_a_huge_inbox_is_listed_in_bounded_time(tmp_path: Path) -> None:
    for number in range(3_000):
        (tmp_path / f"{number}.csv").touch()
    assert len(newest_names([str(tmp_path)], entries_max=100)) == 50
    began = time.monotonic()
    assert len(newest_names([str(tmp_path)], timeout_s=0.0)) == 1
    assert time.monotonic() - began < 1
