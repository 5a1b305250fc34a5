"""Requests, bytes and memory of each operation on thousands of versions and hundreds of thousands of chunks.

``./run bench versions`` measures their time.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.contestant import Contestant, Outcome, contestants
from bench.many import make_chunks, make_versions
from bench.versions import QUESTIONS, small_file
from millrace.api import Store
from millrace.load import LoadOptions
from millrace.settings import Settings

VERSIONS = 5_000
CHUNKS = 250_000
MEMORY_BYTES = 400_000_000


def answers(settings: Settings, dataset: str, **more: Any) -> dict[str, Outcome]:
    """Run every operation in one separate process, within the bound of its memory; return the outcomes."""
    env = {
        "MILLRACE_CASSANDRA__KEYSPACE": settings.cassandra.keyspace,
        "MILLRACE_REDIS__URL": "",
        "MILLRACE_KAFKA__BOOTSTRAP_SERVERS": "",
    }
    one = Contestant.of(dataset, "bench.many:Ask", env, dataset=dataset, questions=list(QUESTIONS), **more)
    with contestants(one):
        found = {question: one.ask(timeout_s=120) for question in QUESTIONS}
    assert found[QUESTIONS[-1]].peak_rss_bytes < MEMORY_BYTES
    return found


@pytest.mark.timeout(300)
def test_operations_on_5000_versions_need_few_requests_and_bytes(
    store: Store, settings: Settings, tmp_path: Path
) -> None:
    store.load("versions", str(small_file(tmp_path, 0)))
    make_versions(store, "versions", VERSIONS - 1)
    last = 10**12
    store.load("versions", str(small_file(tmp_path, last)), LoadOptions(mode="append"))
    version = store.version("versions")
    assert (version.number, version.page_count) == (VERSIONS, VERSIONS)
    lists = len(store.catalogue.pages.lists(version)[0])
    query = f"SELECT * FROM {settings.cassandra.keyspace}.versions WHERE dataset = 'versions' LIMIT 1"
    (row,) = store.cassandra.session.execute(query)
    assert sum(len(value) if isinstance(value, str | bytes) else 16 for value in row) < 16_000

    found = answers(settings, "versions", number=last + 7, source=str(small_file(tmp_path, 2 * last)))
    rows = {question: outcome.rows for question, outcome in found.items()}
    assert rows == {
        "versions": VERSIONS, "show": version.rows, "count_rows": version.rows, "head": 5, "filter": 1, "append": 1000,
    }  # fmt: skip
    requests = {question: outcome.facts["requests"] for question, outcome in found.items()}
    assert requests["versions"] == 1
    assert requests["show"] <= lists + VERSIONS / 100 + 5
    assert requests["count_rows"] <= 2  # ``show`` has cached the version, which never changes
    assert found["count_rows"].facts["read_bytes"] < 100_000
    assert requests["head"] <= 6
    assert requests["filter"] <= lists + 10
    assert requests["append"] <= lists + 60
    assert found["append"].facts["written_bytes"] < 1_000_000


@pytest.mark.timeout(300)
def test_operations_on_250000_chunks_need_few_requests_and_bytes(
    store: Store, settings: Settings, tmp_path: Path
) -> None:
    store.load("chunks", str(small_file(tmp_path, 0)))
    make_chunks(store, "chunks", CHUNKS)
    version = store.version("chunks")
    assert version.chunks == CHUNKS
    page = store.catalogue.pages.refs(version)[-2]
    where = "dataset = 'chunks' AND attempt_id = %s AND page = %s"
    query = f"SELECT data FROM {settings.cassandra.keyspace}.pages WHERE {where}"
    (row,) = store.cassandra.session.execute(query, (page.attempt_id, page.page))
    assert 100_000 < len(row.data) <= 1_000_000

    found = answers(settings, "chunks", number=7, source=str(small_file(tmp_path, 10**12)))
    rows = {question: outcome.rows for question, outcome in found.items()}
    assert rows == {
        "versions": 2, "show": version.rows, "count_rows": version.rows, "head": 5, "filter": 1, "append": 1000,
    }  # fmt: skip
    assert found["count_rows"].facts["requests"] <= 2
    read_bytes = {question: outcome.facts["read_bytes"] for question, outcome in found.items()}
    assert read_bytes["versions"] < 10_000
    assert read_bytes["show"] < 300_000
    assert read_bytes["head"] < 2_500_000
    assert read_bytes["filter"] < 2_500_000
    assert found["append"].facts["written_bytes"] < 1_000_000
