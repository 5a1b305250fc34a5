"""Reports of runs while a node is down: kept on the other node, and repaired with their time to live."""

from __future__ import annotations

from typing import Any

import pytest

from local_stack.stack import Stack
from millrace.api import Store
from millrace.errors import SourceTypeError
from millrace.load import RunRecord
from millrace.settings import Settings
from tests.faults.conftest import at, wait_for
from tests.faults.loads import down_for, load, without_hints

_COLUMNS = "state, version, WRITETIME(state) AS written, TTL(state) AS left_s"


@pytest.mark.timeout(600)
def test_repair_writes_the_reports_that_a_dead_node_missed_and_got_no_hints_of(
    both_up: Stack, store: Store, settings: Settings, parquet: Any, name: str
) -> None:
    source, _ = parquet(2_000)
    load(settings, name, source, run=f"{name}-before")
    with without_hints(both_up):
        both_up.kill("cassandra-2")
        report = load(settings, name, source, run=f"{name}-degraded")
        assert report.degraded
        wait_for("node 1 to see node 2 down", lambda: down_for(both_up, 1))
        with pytest.raises(SourceTypeError), store.recorded(RunRecord(name, f"{name}-failed", "replace")):
            raise SourceTypeError("b changes its type")
        assert store.run_report(f"{name}-failed").state == "failed"
    with Store.connect(settings) as fresh:
        host = fresh.cassandra.hosts()[1]
        assert at(fresh, host, "SELECT run FROM {ks}.reports WHERE run = ?", f"{name}-failed") == []
        assert fresh.repair(name).ok
    for run in ("before", "degraded", "failed"):
        copies = [
            at(store, host, f"SELECT {_COLUMNS} FROM {{ks}}.reports WHERE run = ?", f"{name}-{run}")
            for host in store.cassandra.hosts()
        ]
        [first], [second] = copies
        assert first[:3] == second[:3]
        assert (first.left_s is None) == (second.left_s is None) == (run != "failed")
        assert abs((first.left_s or 0) - (second.left_s or 0)) <= 5
    listed = [
        at(store, host, "SELECT run, state, rows FROM {ks}.dataset_runs WHERE dataset = ?", name)
        for host in store.cassandra.hosts()
    ]
    assert listed[0] == listed[1]
    assert [row.state for row in listed[0]] == ["failed", "succeeded", "succeeded"]
