from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from millrace.api import Store
from millrace.store.catalogue.catalogue_writer import CatalogueWriter
from millrace.store.cluster.writer import ReplicatedWriter
from tests.integration.cli.conftest import ROWS, Millrace


def test_init_can_be_repeated_and_printed(millrace: Millrace) -> None:
    done = millrace("init", "--json")
    assert (done.code, done.err) == (0, "")
    assert "chunks" in done.json["tables"]
    assert done.json["topic_created"] is False
    printed = millrace("init", "--print", MILLRACE_CASSANDRA__PORT="1")
    assert printed.code == 0
    statements = [line for line in printed.out.splitlines() if not line.startswith("--")]
    assert statements[0].startswith("CREATE KEYSPACE IF NOT EXISTS ")
    assert all(line.endswith(";") for line in statements)
    assert len(statements) == 1 + len(done.json["tables"]) + 2
    assert statements[-1].endswith(".versions WITH comment = 'millrace schema 4';")
    assert done.json["upgraded_from"] is None


def test_a_missing_keyspace_is_one_line(millrace: Millrace) -> None:
    done = millrace("ls", MILLRACE_CASSANDRA__KEYSPACE="test_nobody_made_this")
    assert (done.code, done.out) == (1, "")
    assert done.err == "millrace: keyspace 'test_nobody_made_this' does not exist: run: millrace init\n"


def test_a_wrong_setting_is_one_line_by_name(millrace: Millrace) -> None:
    done = millrace("ls", MILLRACE_CASSANDRA__PORT="many")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "MILLRACE_CASSANDRA__PORT" in done.err


def test_ls_and_versions_list_a_loaded_dataset(millrace: Millrace, loaded: dict[str, Any]) -> None:
    words = next(d for d in millrace("ls", "--json").json["datasets"] if d["name"] == "words")
    assert (words["latest"], words["versions"], words["rows"]) == (loaded["version"], 1, ROWS)
    assert "words" in millrace("ls").out
    version = millrace("versions", "words", "--json").json["versions"][0]
    assert (version["version"], version["run"], version["rows"]) == (loaded["version"], loaded["run"], ROWS)
    assert loaded["version"] in millrace("versions", "words").out


def test_show_prints_all_facts_of_a_version(millrace: Millrace, loaded: dict[str, Any], table_csv: Path) -> None:
    facts = millrace("show", "words", "--json").json
    assert facts["rows"] == ROWS
    assert facts["chunks"] == loaded["chunks"]
    assert 0 < facts["largest_chunk_bytes"] <= 65_536
    assert facts["largest_chunk_bytes"] * facts["chunks"] >= facts["stored_bytes"] == loaded["stored_bytes"]
    assert (facts["replicas"], facts["under_replicated"], facts["degraded"]) == (2, [], False)
    assert facts["schema"] == [
        {"name": "n", "type": "int64", "nullable": True},
        {"name": "word", "type": "string", "nullable": True},
        {"name": "when", "type": "timestamp[s]", "nullable": True},
        {"name": "share", "type": "double", "nullable": True},
    ]
    assert facts["source"]["uri"] == str(table_csv)
    assert (facts["run"], facts["parent"], facts["mode"]) == (loaded["run"], None, "replace")
    shown = millrace("show", "words").out
    for said in (f"{ROWS:,}", "2 each", "timestamp[s]", loaded["run"], "table.csv (csv, 1 file", "(gzip)"):
        assert said in shown


def test_under_replicated_chunks_are_reported_and_count_as_degraded(
    millrace: Millrace, store: Store, table_csv: Path
) -> None:
    assert millrace("load", "record_key", str(table_csv)).code == 0
    assert millrace("show", "record_key", "--strict").code == 0
    version = store.version("record_key")
    writer = store.catalogue.pages.refs(version)[0].attempt_id
    with ReplicatedWriter(store.cassandra, window_bytes=5_000_000) as writes:
        CatalogueWriter(store.cassandra, writes).record_under_replicated("record_key", writer, 0, 3)
    done = millrace("show", "record_key", "--strict", "--json")
    assert done.code == 3
    assert (done.json["replicas"], done.json["degraded"]) == (1, True)
    assert done.json["under_replicated"] == [{"attempt_id": writer.hex, "bucket": 0, "chunks": 3}]
    assert done.err == f"millrace: warning: {version.reference} has 3 chunks or rows on one node only\n"
    assert millrace("show", "record_key").code == 0


@pytest.mark.parametrize("args", [[], ["--each-replica"]])
def test_verify_reads_everything_again(millrace: Millrace, loaded: dict[str, Any], args: list[str]) -> None:
    done = millrace("verify", "words", *args, "--json")
    assert (done.code, done.err) == (0, "")
    facts = done.json
    assert (facts["ok"], facts["bad_copies"], facts["chunks"], facts["rows"]) == (True, 0, loaded["chunks"], ROWS)
    assert facts["copies"] == loaded["chunks"] * (2 if args else 1)
    assert "wrong or missing" in millrace("verify", "words", *args).out
