"""When ``read --output`` asks for confirmation before it replaces a file."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import click
import pytest

from millrace.cli.commands.read import _ask_to_replace, _local
from millrace.errors import UsageError


class Terminal(io.StringIO):
    """Standard input that is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def existing_file(tmp_path: Path) -> str:
    """Return the path of an existing file."""
    (tmp_path / "f.csv").write_text("old")
    return str(tmp_path / "f.csv")


def on_a_terminal(monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)


@pytest.mark.parametrize(("answer", "replaced"), [("y\n", True), ("n\n", False), ("\n", False), ("", False)])
def test_a_file_is_replaced_only_if_the_user_answers_yes(
    existing_file: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], answer: str, replaced: bool
) -> None:
    on_a_terminal(monkeypatch, answer)
    if replaced:
        _ask_to_replace(existing_file, force=False)
    else:
        with pytest.raises(click.Abort):
            _ask_to_replace(existing_file, force=False)
    out, err = capsys.readouterr()
    assert f"{existing_file} exists already. Replace it? [y/N]" in err
    assert out == ""


def test_nothing_is_asked_with_force_without_a_file_or_without_a_terminal(
    existing_file: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    on_a_terminal(monkeypatch, "")
    _ask_to_replace(existing_file, force=True)
    _ask_to_replace(existing_file + ".new", force=False)
    _ask_to_replace("-", force=False)
    _ask_to_replace("/dev/null", force=False)
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    _ask_to_replace(existing_file, force=False)
    assert capsys.readouterr() == ("", "")


def test_a_file_url_becomes_a_path_and_other_schemes_are_refused() -> None:
    assert _local("file:///tmp/a%20b.csv") == "/tmp/a b.csv"
    assert [_local(name) for name in (None, "-", "../x.csv", "a:b.csv")] == [None, "-", "../x.csv", "a:b.csv"]
    with pytest.raises(UsageError, match=r"s3://bucket/x\.csv is not a file of this machine"):
        _local("s3://bucket/x.csv")
