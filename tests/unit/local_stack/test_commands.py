"""Commands of ``./run`` that need no service."""

from __future__ import annotations

from pathlib import Path

import pytest

from local_stack.__main__ import main


def test_reset_reports_which_data_is_deleted_and_which_is_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MILLRACE_HOME", str(tmp_path))
    for name in ("data", "inbox", "maven", "bench"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("1")
    main(["reset", "--yes"], standalone_mode=False)
    message = "all data of the services is deleted; jars, the inbox and benchmark results stay"
    assert capsys.readouterr().out.splitlines()[-1] == message
    assert {path.name for path in tmp_path.iterdir()} - {"stack.lock"} == {"inbox", "maven", "bench"}
