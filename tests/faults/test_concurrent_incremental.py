"""Pairs of incremental loads of one folder at the same moment load each file once, also while a node is down."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from local_stack.stack import Stack
from millrace.api import Store
from millrace.errors import LoadSupersededError
from millrace.load import LoadOptions
from millrace.settings import Settings
from tests.faults.conftest import FULL, wait_for
from tests.faults.loads import down_for, load

INCREMENTAL = LoadOptions(mode="incremental", chunk_bytes=65_536)
PAIRS = 50 if FULL else 6


def pairs_at_once(settings: Settings, name: str, folder: Path, pairs: int) -> Counter[str]:
    """Load the folder in pairs of loads that begin at the same moment; check the rows after each pair.

    Before each pair two files are added to the folder. Returns how often a load succeeded, found nothing new, or was
    superseded.
    """
    results: Counter[str] = Counter()
    folder.mkdir()
    (folder / "0.csv").write_text("n\n0\n")
    load(settings, name, str(folder), INCREMENTAL, run="first")
    expected = [0]

    def once(store: Store, run: str, barrier: threading.Barrier) -> str:
        barrier.wait()
        try:
            report = store.load(name, str(folder), INCREMENTAL, run=run)
        except LoadSupersededError:
            return "superseded"
        return report.skipped or "loaded"

    with Store.connect(settings) as left, Store.connect(settings) as right, ThreadPoolExecutor(2) as pool:
        for pair in range(pairs):
            new = [2 * pair + 1, 2 * pair + 2]
            for number in new:
                (folder / f"{number}.csv").write_text(f"n\n{number}\n")
            expected += new
            barrier = threading.Barrier(2, timeout=120)
            loads = [pool.submit(once, store, f"{side}-{pair}", barrier) for store, side in ((left, "l"), (right, "r"))]
            outcomes = [one.result(600) for one in loads]
            results.update(outcomes)
            assert "loaded" in outcomes
            assert sorted(left.dataset(name).to_table().column("n").to_pylist()) == expected
    return results


@pytest.mark.timeout(3600)
def test_pairs_of_incremental_loads_at_the_same_moment_load_each_file_once(
    both_up: Stack, settings: Settings, name: str, tmp_path: Path
) -> None:
    results = pairs_at_once(settings, name, tmp_path / "source", PAIRS)
    assert results["superseded"]
    with Store.connect(settings) as store:
        assert store.repair(name).merged == []
        assert store.verify(name, each_replica=True).ok


@pytest.mark.timeout(3600)
def test_pairs_of_incremental_loads_load_each_file_once_while_a_node_is_down(
    both_up: Stack, settings: Settings, name: str, tmp_path: Path
) -> None:
    both_up.kill("cassandra-2")
    wait_for("node 1 to see node 2 down", lambda: down_for(both_up, 1))
    results = pairs_at_once(settings, name, tmp_path / "source", PAIRS)
    assert results["superseded"]
    both_up.up(["cassandra"])
    with Store.connect(settings) as store:
        wait_for("node 2 up for the driver", lambda: not store.cassandra.missing())
        assert store.repair(name).ok
        assert store.verify(name, each_replica=True).ok
        assert store.dataset(name).count_rows() == 2 * PAIRS + 1
