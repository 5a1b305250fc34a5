"""Every command that names a dataset, with a name that no dataset has, on an in-memory cluster."""

from __future__ import annotations

import json

import pytest

from millrace.api import Store
from millrace.cli.app import run
from millrace.settings import Settings
from tests.unit.store.in_memory import cassandra, settings, store

__all__ = ["cassandra", "settings", "store"]


@pytest.fixture(autouse=True)
def connected(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every command connect to the in-memory store."""

    def connect(_settings: Settings) -> Store:
        return store

    monkeypatch.setattr(Store, "connect", connect)


@pytest.mark.parametrize(
    "command",
    [
        ("versions", "NAME"),
        ("versions", "NAME", "--deleted"),
        ("show", "NAME@1"),
        ("diff", "NAME", "NAME"),
        ("tag", "NAME", "good"),
        ("untag", "NAME", "good"),
        ("read", "NAME"),
        ("verify", "NAME"),
        ("verify", "NAME", "--each-replica"),
        ("repair", "NAME", "--dry-run"),
        ("delete", "NAME", "--yes"),
        ("delete", "NAME", "--dry-run"),
        ("delete", "NAME"),
        ("delete", "NAME@1"),
        ("undelete", "NAME@1"),
        ("prune", "NAME", "--keep", "1", "--yes"),
        ("prune", "NAME", "--keep", "1", "--dry-run"),
        ("warm", "NAME@1"),
        ("plan", "NAME"),
        ("plan", "NAME@1"),
    ],
)
@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
def test_every_command_fails_with_1_and_one_line_for_an_unknown_dataset(
    command: tuple[str, ...], as_json: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [word.replace("NAME", "nobody_made_this") for word in command]
    assert run([*words, *(["--json"] if as_json else [])]) == 1
    out, err = capsys.readouterr()
    assert err == "millrace: there is no dataset 'nobody_made_this': millrace ls lists the datasets\n"
    assert (json.loads(out)["error"] == "DatasetNotFoundError") if as_json else (out == "")
