"""The commands on lineage: ``lineage``, ``show``, and ``delete`` with and without ``--with-derived``."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from millrace.api import Store
from millrace.cli import main
from millrace.cli.commands.show import describe
from millrace.cli.interrupts import Interrupts
from tests.derived import made_from
from tests.unit.store.fakes import FakeCassandra
from tests.unit.store.in_memory import cassandra, csv, settings, store

__all__ = ["cassandra", "csv", "settings", "store"]

Capture = pytest.CaptureFixture[str]


class Terminal(io.StringIO):
    """Standard input that is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def chain(store: Store, csv: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Make flights, late from it and late_model from that; let commands use this store. Return the references."""
    made = {"flights": f"flights@{store.load('flights', csv(3)).version}"}
    made["late"] = made_from(store, "late", tmp_path, "flights")
    made["late_model"] = made_from(store, "late_model", tmp_path, "late")

    @contextmanager
    def connect(_settings: Any) -> Iterator[Store]:
        yield store

    monkeypatch.setattr(Store, "connect", connect)
    return made


def datasets(store: Store) -> list[str]:
    return [info.name for info in store.datasets()]


def test_lineage_prints_both_trees(chain: dict[str, str], capsys: Capture) -> None:
    assert main(["lineage", "late"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        chain["late"],
        "├─ made from",
        f"│  └─ {chain['flights']} as flights",
        "└─ made into",
        f"   └─ {chain['late_model']}",
    ]
    assert main(["lineage", chain["flights"], "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["made_from"], document["made_into"]) == ({}, [chain["late"]])
    assert set(document["versions"]) == set(chain.values())
    assert main(["lineage", "unknown"]) == 1
    assert "there is no dataset 'unknown'" in capsys.readouterr().err


def test_lineage_shows_a_deleted_input(store: Store, chain: dict[str, str]) -> None:
    late = store.version("late")
    store.delete("flights", whole=True, with_derived=True)
    for name in ("flights", "late"):
        store.undelete(chain[name])
    store._deletion._replicas.write_mark(store.version("flights"), "deleted", late.committed_at)
    graph = store.lineage("late")
    assert graph.state(chain["flights"]) == "deleted"
    assert f"{chain['flights']} as flights, deleted" in graph.text()


def test_show_prints_what_a_version_was_made_from_and_into(chain: dict[str, str], capsys: Capture) -> None:
    assert main(["show", "late"]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert f"made from {chain['flights']}" in lines
    assert f"made into {chain['late_model']}" in lines
    assert main(["show", "flights", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["made_from"], facts["made_into"]) == ({}, [chain["late"]])


def test_show_names_the_first_versions_and_the_number_of_the_others(
    store: Store, chain: dict[str, str], tmp_path: Path, capsys: Capture
) -> None:
    for number in range(7):
        made_from(store, "late", tmp_path, "flights", run=f"run-{number}")
    assert main(["show", "flights"]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if "made into" in line)
    assert line.count("late@") == 5
    assert line.endswith(", 3 more")


def test_show_reads_the_names_of_derived_datasets_once_and_the_versions_of_those_alone(
    store: Store, cassandra: FakeCassandra, chain: dict[str, str], csv: Callable[..., str]
) -> None:
    for number in range(20):
        store.load(f"other_{number}", csv(3))
    version = store.version("flights")
    cassandra.reads.clear()
    describe(store, version)
    queries = [query for query, _, _ in cassandra.reads]
    assert len([query for query in queries if " ks.datasets " in query]) == 1
    assert len([query for query in queries if " ks.versions " in query]) == 2  # late and late_model
    assert len(queries) <= 8


def test_delete_of_an_input_is_one_line_that_names_the_derived_versions(
    store: Store, chain: dict[str, str], capsys: Capture
) -> None:
    assert main(["delete", "flights", "--yes"]) == 2
    assert capsys.readouterr().err == (
        f"millrace: {chain['flights']} is not deleted, because {chain['late']}, {chain['late_model']} were made from "
        "it: "
        f"delete those first, or all together: millrace delete {chain['flights']} --with-derived\n"
    )
    assert datasets(store) == ["flights", "late", "late_model"]


@pytest.mark.parametrize(("answer", "left"), [("y\n", []), ("n\n", ["flights", "late", "late_model"])])
def test_everything_is_listed_with_its_tags_before_the_one_question(
    store: Store,
    chain: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
    answer: str,
    left: list[str],
) -> None:
    store.tag("late_model", "best")
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    monkeypatch.setattr(Interrupts, "leave", lambda _self: None)  # it ends the process after a no
    main(["delete", "flights", "--with-derived"])
    err = capsys.readouterr().err
    assert err.startswith(
        f"{chain['late_model']} (tag best)\n{chain['late']}\n{chain['flights']}\n"
        "delete these 3 versions and the tags [y/N]: "
    )
    assert err.count("[y/N]") == 1
    assert datasets(store) == left


def test_a_version_that_is_published_during_the_question_stops_the_deletion(
    store: Store, chain: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    class Slow(Terminal):
        """A user who answers after another version was published."""

        def readline(self, *_args: Any) -> str:
            made_from(store, "late_model", tmp_path, "late", run="later")
            return "y\n"

    monkeypatch.setattr(sys, "stdin", Slow())
    assert main(["delete", "flights", "--with-derived"]) == 2
    assert (
        "was published since the versions were listed, so nothing was deleted: run it again" in capsys.readouterr().err
    )
    assert datasets(store) == ["flights", "late", "late_model"]


def test_a_dry_run_lists_everything_and_asks_and_deletes_nothing(
    store: Store, chain: dict[str, str], capsys: Capture
) -> None:
    store.tag("late", "good")
    assert main(["delete", "flights", "--with-derived", "--dry-run", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["marked"] == [chain["late_model"], chain["late"], chain["flights"]]
    assert (report["tags"], report["dry_run"]) == ({chain["late"]: ["good"]}, True)
    assert main(["delete", "flights", "--with-derived", "--dry-run"]) == 0
    assert f"{chain['late']} (tag good)" in " ".join(capsys.readouterr().out.split())
    assert datasets(store) == ["flights", "late", "late_model"]


def test_without_a_terminal_the_deletion_needs_yes(
    store: Store, chain: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    assert main(["delete", "late_model", "--with-derived"]) == 2
    assert "delete this version and the tags: a confirmation needs a terminal" in capsys.readouterr().err
    assert main(["delete", "flights", "--with-derived", "--yes"]) == 0
    assert datasets(store) == []
