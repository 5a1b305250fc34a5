"""The scratch folder: private, locked, removed at the end, and after the end of its process."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from local_stack.settings import PYTHON_PATH
from millrace.errors import UsageError
from millrace.training.prepare.engine import Scratch

HOLD = """
import sys, time
from pathlib import Path
from millrace.training.prepare.engine import Scratch
with Scratch(Path(sys.argv[1]), name="late") as scratch:
    (scratch.path / "work.duckdb").write_bytes(b"rows")
    print(scratch.path, flush=True)
    time.sleep(60)
"""


def holder(folder: Path) -> tuple[subprocess.Popen[str], Path]:
    """Start a process that holds a scratch folder, and return it with the folder."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": PYTHON_PATH}
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_the_folder_is_private_and_nothing_is_left(tmp_path: Path) -> None:
    with Scratch(tmp_path / "scratch", name="late") as scratch:
        assert scratch.path.stat().st_mode & 0o777 == 0o700
        assert (tmp_path / "scratch").stat().st_mode & 0o777 == 0o700
        assert scratch.path.name.startswith("millrace-late-")
        (scratch.path / "file").write_bytes(b"1" * 10_000)
        assert scratch.used_bytes() >= 10_000
    assert list((tmp_path / "scratch").iterdir()) == []


def test_nothing_is_left_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), Scratch(tmp_path, name="late") as scratch:
        (scratch.path / "missing" / "file").write_bytes(b"1")
    assert list(tmp_path.iterdir()) == []


def test_the_folder_of_a_killed_process_is_removed_at_the_next_start(tmp_path: Path) -> None:
    process, left = holder(tmp_path)
    with process:
        process.send_signal(signal.SIGKILL)
        process.wait(30)
        assert (left / "work.duckdb").exists()
        with Scratch(tmp_path, name="other"):
            assert not left.exists()
    assert list(tmp_path.iterdir()) == []


def test_the_folder_of_a_living_process_and_those_of_others_stay(tmp_path: Path) -> None:
    (tmp_path / "another program").mkdir()
    (tmp_path / "millrace-file").write_text("no folder")
    (tmp_path / "millrace-link").symlink_to(tmp_path / "another program")
    process, held = holder(tmp_path)
    with process, Scratch(tmp_path, name="late") as own:
        assert (held / "work.duckdb").exists()
        assert own.path != held
        process.kill()
    assert (tmp_path / "another program").exists()
    assert (tmp_path / "millrace-link").exists()


def test_a_folder_without_a_lock_counts_as_left(tmp_path: Path) -> None:
    (tmp_path / "millrace-late-old").mkdir()
    with Scratch(tmp_path, name="late"):
        assert not (tmp_path / "millrace-late-old").exists()


def test_many_may_start_at_once(tmp_path: Path) -> None:
    processes = [holder(tmp_path)[0] for _ in range(2)]
    began = time.monotonic()
    assert len(list(tmp_path.iterdir())) == 2
    for process in processes:
        with process:
            process.kill()
    assert time.monotonic() - began < 30


def test_too_little_room_is_one_line_with_the_bytes_the_folder_and_the_setting(tmp_path: Path) -> None:
    with Scratch(tmp_path, name="late") as scratch, pytest.raises(UsageError) as raised:
        scratch.require_room(10**18)
    text = str(raised.value)
    assert "\n" not in text
    assert all(part in text for part in ("1000 PB", str(tmp_path), "training.scratch", "free"))
    assert raised.value.context["expected"] == 10**18


def test_temporary_files_may_exceed_the_estimate_but_not_half_of_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with Scratch(tmp_path, name="late", headroom=4) as scratch:
        rooms = []
        for needed in (100, 200, 900):
            scratch.require_room(needed)
            rooms.append(scratch.room_bytes)
    assert rooms == [400, 500, 900]


def test_a_folder_that_cannot_be_made_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(UsageError, match=r"scratch folder .* cannot be used.*training.scratch"):
        Scratch(tmp_path / "file" / "scratch", name="late").__enter__()
