"""``millrace report`` and ``millrace sources --status`` on the real services."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from local_stack.settings import CHECKOUT
from millrace.api import Store
from tests.integration.cli.conftest import ROWS, Millrace

SCHEMA = json.loads((CHECKOUT / "docs" / "load-report.schema.json").read_text())
FAILED_S = 90 * 86_400


def test_the_report_of_a_load_is_the_document_that_the_load_printed(millrace: Millrace, loaded: dict[str, Any]) -> None:
    document = millrace("report", loaded["run"], "--json").json
    Draft202012Validator(SCHEMA).validate(document)
    assert {**document, "dry_run": False} == loaded
    assert list(document["stages"]) == ["plan", "load", "publish"]
    assert (document["source_facts"]["files"], document["state"]) == (1, "succeeded")
    shown = millrace("report", loaded["run"])
    assert shown.code == 0
    for text in (f"words@{loaded['version']}", f"{ROWS:,}", loaded["run"], "table.csv (csv, 1 file"):
        assert text in shown.out


def test_the_report_of_a_failed_load_is_kept_for_90_days(millrace: Millrace, store: Store, tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text("n,word\n1,a\n2,b,c\n")
    failed = millrace("load", "bad_words", str(tmp_path / "bad.csv"), "--run-id", "bad-run", "--json")
    assert failed.code == 1
    document = millrace("report", "bad-run", "--json").json
    Draft202012Validator(SCHEMA).validate(document)
    assert (document["state"], document["dataset"], document["version"]) == ("failed", "bad_words", "")
    assert document["error"]["class"] == failed.json["error"]
    for table, key in (("reports", "run = 'bad-run'"), ("dataset_runs", "dataset = 'bad_words'")):
        query = f"SELECT TTL(state) AS left_s FROM {store.settings.cassandra.keyspace}.{table} WHERE {key}"
        [row] = store.cassandra.session.execute(query)
        assert FAILED_S - 600 < row.left_s <= FAILED_S
    (tmp_path / "bad.csv").write_text("n,word\n1,a\n2,b\n")
    assert millrace("load", "bad_words", str(tmp_path / "bad.csv"), "--run-id", "bad-run").code == 0
    document = millrace("report", "bad-run", "--json").json
    assert (document["state"], document["rows"]) == ("succeeded", 2)
    query = f"SELECT TTL(state) AS left_s FROM {store.settings.cassandra.keyspace}.reports WHERE run = 'bad-run'"
    assert store.cassandra.session.execute(query).one().left_s is None


def test_an_unknown_run_is_one_line_with_the_nearest_one(millrace: Millrace, loaded: dict[str, Any]) -> None:
    done = millrace("report", f"{loaded['run'][:-1]}x")
    assert (done.code, done.out) == (1, "")
    assert done.err.endswith(f"did you mean {loaded['run']}?\n")


def test_the_status_of_the_sources_has_the_last_run_of_each_dataset(
    millrace: Millrace, loaded: dict[str, Any], tmp_path: Path
) -> None:
    declared = tmp_path / "sources.yaml"
    declared.write_text("sources:\n  words: {uri: a.csv, every: 1d}\n  none_yet: {uri: b.csv, after: words}\n")
    words, none_yet = millrace("sources", str(declared), "--status", "--json").json["sources"]
    assert words["last_run"]["run"] == loaded["run"]
    assert (words["last_run"]["version"], words["last_run"]["rows"]) == (loaded["version"], ROWS)
    assert words["next_run"] is not None
    assert (none_yet["last_run"], none_yet["next_run"]) == (None, None)
    shown = millrace("sources", str(declared), "--status")
    assert (shown.code, shown.err) == (0, "")
    assert "succeeded" in shown.out
    unreachable = millrace("sources", str(declared), "--status", MILLRACE_CASSANDRA__PORT="1")
    assert (unreachable.code, unreachable.err.count("\n")) == (1, 1)
    assert "words" in unreachable.out


def test_the_reports_of_a_deleted_dataset_are_gone(millrace: Millrace, store: Store, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("n\n1\n")
    run = millrace("load", "gone_words", str(tmp_path / "a.csv"), "--json").json["run"]
    assert millrace("report", run).code == 0
    assert millrace("delete", "gone_words", "--now", "--yes").code == 0
    assert millrace("report", run).code == 1
    assert store.last_run("gone_words") is None
