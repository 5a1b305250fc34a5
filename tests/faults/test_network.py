"""Network faults alone: latency, connection resets, lost responses."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from local_stack.stack import Stack
from millrace.api import Store
from millrace.load import LoadOptions, LoadReport
from millrace.settings import Settings
from millrace.store.cluster.session import CassandraSession
from tests.faults.checker import Expected
from tests.faults.conftest import Judge, wait_for
from tests.faults.gates import Gates
from tests.faults.loads import ROWS, SMALL, repaired
from tests.faults.proxy import Proxies, Translator, through

Load = Callable[[str, str, LoadOptions], LoadReport]


@pytest.fixture
def proxies(both_up: Stack, settings: Settings) -> Iterator[Proxies]:
    with Proxies(settings.cassandra.contact_points, settings.cassandra.port) as opened:
        yield opened


@pytest.fixture
def through_proxies(proxies: Proxies, settings: Settings) -> Iterator[Store]:
    """Connect a store that reaches the nodes only through the proxies."""
    points = tuple(through(address) for address in settings.cassandra.contact_points)
    cassandra = settings.cassandra.model_copy(update={"contact_points": points})
    session = CassandraSession.connect(cassandra, address_translator=Translator())
    with Store(session, settings.model_copy(update={"cassandra": cassandra})) as store:
        assert {str(host.address) for host in session.hosts()} == set(points)
        yield store


def test_latency_slows_a_load_and_a_read_and_fails_neither(
    proxies: Proxies, through_proxies: Store, store: Store, parquet: Any, name: str, judge: Judge
) -> None:
    source, table = parquet(ROWS // 2)
    for toxics in proxies.toxics.values():
        toxics.latency_s = 0.1
    report = through_proxies.load(name, source, SMALL)
    assert through_proxies.dataset(name).to_table().equals(table)
    fired = all(toxics.delayed > 10 for toxics in proxies.toxics.values())
    repaired(store)
    judge({name: Expected({report.version: table}, latest=report.version)}, fired=fired)


def test_repeated_connection_resets_fail_no_load(
    proxies: Proxies, through_proxies: Store, store: Store, parquet: Any, name: str, judge: Judge, gates: Gates
) -> None:
    source, table = parquet(ROWS)
    victim = list(proxies.toxics)[1]
    # Within the third or fourth chunk of each connection.
    proxies.toxics[victim].reset_after_bytes = 220_000
    report = through_proxies.load(name, source, SMALL)
    assert through_proxies.dataset(name).to_table().equals(table)
    fired = proxies.toxics[victim].resets > 0 and report.retries > 0
    print(f"{proxies.toxics[victim].resets} resets, {report.retries} retries")
    repaired(store)
    judge({name: Expected({report.version: table}, latest=report.version)}, fired=fired)


@pytest.mark.parametrize("victims", [1, 2])
def test_lost_responses_neither_lose_nor_duplicate_rows(
    proxies: Proxies,
    through_proxies: Store,
    store: Store,
    parquet: Any,
    name: str,
    gates: Gates,
    judge: Judge,
    victims: int,
) -> None:
    """The nodes write chunks whose acknowledgements never reach the load; on one node, and on both for a while."""
    source, table = parquet(ROWS)
    gate = gates.gate(name, "chunk", 10)
    lossy = list(proxies.toxics)[-victims:]
    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(through_proxies.load, name, source, SMALL)
        gate.wait()
        for address in lossy:
            proxies.toxics[address].lose_answers = True
        gate.open()
        wait_for("answers to be lost", lambda: all(proxies.toxics[address].lost_bytes for address in lossy))
        time.sleep(3.0)  # longer than a load waits before it probes for unresponsive nodes
        for address in lossy:
            proxies.toxics[address].lose_answers = False
            proxies.cut(address)  # the next byte would be in the middle of a response
        report = loading.result(120)
    assert report.retries > 0
    repaired(store)
    fired = all(proxies.toxics[address].lost_bytes for address in lossy)
    judge({name: Expected({report.version: table}, latest=report.version)}, fired=fired)
