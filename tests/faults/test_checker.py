"""Each check of the checker fails on a deliberately damaged store and passes on an undamaged one."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import pyarrow as pa
import pytest

from local_stack.stack import Stack
from millrace.api import Store
from millrace.load import LoadOptions
from millrace.settings import Settings
from millrace.store.catalogue.manifest import TileRef
from millrace.store.catalogue.page_list import ListRef
from tests.faults.checker import BOTH, Checker, Expected, Verdict
from tests.faults.conftest import at, keyspace_of_our_own, random_table

CHUNK = "dataset = ? AND attempt_id = ? AND bucket = ? AND chunk = ? AND tile = ?"
INSERT = "INSERT INTO {ks}.chunks (dataset, attempt_id, bucket, chunk, tile, data) VALUES (?, ?, ?, ?, ?, ?)"
Loaded = tuple[str, str, pa.Table]


@pytest.fixture(scope="module")
def settings(nodes: Stack) -> Iterator[Settings]:
    """Return settings with a keyspace of this module, so that its damage does not affect other tests."""
    with keyspace_of_our_own() as made:
        yield made


@pytest.fixture
def loaded(store: Store, parquet: Any, name: str) -> Loaded:
    """Load a dataset of a few chunks with a tag; return its name, version and table."""
    source, table = parquet(6_000)
    report = store.load(name, source, LoadOptions(chunk_bytes=65_536))
    store.tag(name, "good")
    assert report.chunks > 2
    return name, report.version, table


@pytest.fixture
def look(settings: Settings, loaded: Loaded) -> Callable[..., Verdict]:
    name, label, table = loaded

    def check(*, fired: bool = True, **changes: Any) -> Verdict:
        expectation = {"versions": {label: table}, "latest": label, "tags": {"good": label}, **changes}
        cassandra = settings.cassandra
        with Checker(cassandra.contact_points, cassandra.port, cassandra.keyspace) as checker:
            return checker.check({name: Expected(**expectation)}, fired=fired, prefix=name)

    return check


def place(store: Store, name: str, number: int = 1) -> tuple[Any, ...]:
    ref = list(store.dataset(name).refs())[number]
    return ref.dataset, ref.attempt_id, ref.bucket, ref.chunk, 1


def tile(store: Store, where: tuple[Any, ...]) -> bytes:
    query = f"SELECT data FROM {{ks}}.chunks WHERE {CHUNK}"
    return bytes(at(store, store.cassandra.hosts()[0], query, *where)[0].data)


def test_an_undamaged_dataset_passes_in_all_three_ways(
    store: Store, loaded: Loaded, look: Callable[..., Verdict]
) -> None:
    verdict = look()
    assert verdict.ok, str(verdict)
    assert verdict.chunks == 3 * store.version(loaded[0]).chunks


def test_a_fault_that_never_fired_makes_the_verdict_unknown(look: Callable[..., Verdict]) -> None:
    verdict = look(fired=False)
    assert not verdict.ok
    assert verdict.unknown
    assert "unknown" in str(verdict)


@pytest.mark.parametrize("numbers", [[0], [1], [0, 1]], ids=["A", "B", "both"])
def test_a_missing_tile_is_lost_on_the_nodes_that_lack_it(
    store: Store, loaded: Loaded, look: Callable[..., Verdict], numbers: list[int]
) -> None:
    where = place(store, loaded[0])
    hosts = [store.cassandra.hosts()[node] for node in numbers]
    for host in hosts:
        at(store, host, f"DELETE FROM {{ks}}.chunks WHERE {CHUNK}", *where)
    verdict = look()
    ways = {str(host.address) for host in hosts} | ({BOTH} if len(numbers) == 2 else set())
    assert {fault.partition(":")[0] for fault in verdict.lost} == ways
    assert not verdict.wrong
    assert not verdict.phantom
    # The product's ``verify`` also finds the missing replica while both nodes are up.
    if len(hosts) == 1:
        report = store.verify(loaded[0], each_replica=True)
        assert {problem["node"] for problem in report.problems} == {str(host.address) for host in hosts}
        assert store.repair(loaded[0]).copies == 1
        assert look().ok


@pytest.mark.parametrize("damage", ["flipped", "cut", "of another place"])
def test_a_tile_with_other_bytes_than_written_is_wrong(
    store: Store, loaded: Loaded, look: Callable[..., Verdict], damage: str
) -> None:
    where = place(store, loaded[0])
    data = tile(store, where)
    bad = {
        "flipped": bytes([data[0] ^ 1]) + data[1:],
        "cut": data[:-1],
        "of another place": tile(store, place(store, loaded[0], 0)),
    }[damage]
    node = store.cassandra.hosts()[1]
    at(store, node, INSERT, *where, bad)
    verdict = look()
    assert [fault.partition(":")[0] for fault in verdict.wrong] == [str(node.address)]
    assert not verdict.lost


@pytest.mark.parametrize("what", ["version", "page", "name"])
def test_a_catalogue_row_missing_on_one_node_is_lost_on_that_node(
    store: Store, loaded: Loaded, look: Callable[..., Verdict], what: str
) -> None:
    version = store.version(loaded[0])
    page = store.catalogue.pages.refs(version)[0]
    query, values = {
        "version": ("versions WHERE dataset = ? AND number = ? AND hex = ?", (loaded[0], version.number, version.hex)),
        "page": ("pages WHERE dataset = ? AND attempt_id = ? AND page = ?", (loaded[0], page.attempt_id, page.page)),
        "name": ("datasets WHERE shard = ? AND dataset = ?", (0, loaded[0])),
    }[what]
    node = store.cassandra.hosts()[0]
    at(store, node, f"DELETE FROM {{ks}}.{query}", *values)
    verdict = look()
    assert {str(node.address)} <= {fault.partition(":")[0] for fault in verdict.lost}
    if what == "version":
        assert any("the latest is None" in fault for fault in verdict.wrong)


def test_a_changed_version_row_is_wrong(store: Store, loaded: Loaded, look: Callable[..., Verdict]) -> None:
    version = store.version(loaded[0])
    query = "INSERT INTO {ks}.versions (dataset, number, hex, rows) VALUES (?, ?, ?, ?)"
    at(store, store.cassandra.hosts()[0], query, loaded[0], version.number, version.hex, version.rows + 1)
    assert any("the version's row" in fault for fault in look().wrong)


def test_a_page_with_other_bytes_than_written_is_wrong(
    store: Store, loaded: Loaded, look: Callable[..., Verdict]
) -> None:
    """The page has the same rows in other bytes, so that only its checksum reveals the change."""
    page = store.catalogue.pages.refs(store.version(loaded[0]))[0]
    key = (loaded[0], page.attempt_id, page.page)
    node = store.cassandra.hosts()[1]
    (row,) = at(store, node, "SELECT data FROM {ks}.pages WHERE dataset = ? AND attempt_id = ? AND page = ?", *key)
    other = gzip.compress(gzip.decompress(row.data), 9, mtime=1)
    at(store, node, "INSERT INTO {ks}.pages (dataset, attempt_id, page, data) VALUES (?, ?, ?, ?)", *key, other)
    verdict = look()
    # A read from both nodes returns the later replica.
    assert {fault.partition(":")[0] for fault in verdict.wrong} == {str(node.address), BOTH}
    assert all(f"page {page.page} of {page.attempt_id.hex[:12]}" in fault for fault in verdict.wrong)
    assert not verdict.lost


def test_a_tile_whose_raw_checksum_does_not_match_is_wrong(
    store: Store, loaded: Loaded, look: Callable[..., Verdict], parquet: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stored bytes and their checksum match; only the raw checksum in the page does not."""

    def promise(codec: str, raw_bytes: int, stored_bytes: int, stored: bytes, raw: bytes) -> TileRef:
        return TileRef(codec, raw_bytes, stored_bytes, stored, bytes([raw[0] ^ 1]) + raw[1:])

    monkeypatch.setattr(import_module("millrace.store.chunks.chunk_writer"), "TileRef", promise)
    name, label, table = loaded
    broken = store.load(name, parquet(6_000)[0], LoadOptions(chunk_bytes=65_536)).version
    verdict = look(versions={label: table, broken: table}, latest=broken)
    assert len(verdict.wrong) == 3
    assert all(f"{broken}: the bytes within a tile" in fault for fault in verdict.wrong)


def test_a_list_that_names_another_number_of_pages_is_wrong(
    store: Store, loaded: Loaded, look: Callable[..., Verdict], parquet: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def one_more(writer: Any, page: int, pages: int, checksum: bytes) -> ListRef:
        return ListRef(writer, page, pages + 1, checksum)

    lists = import_module("millrace.load.lists")
    monkeypatch.setattr(lists, "INLINE_PAGES", 0)
    name, label, table = loaded
    source, options = parquet(6_000)[0], LoadOptions(chunk_bytes=65_536)
    right = store.load(name, source, options).version
    monkeypatch.setattr(lists, "ListRef", one_more)
    broken = store.load(name, source, options).version
    verdict = look(versions={label: table, right: table, broken: table}, latest=broken)
    assert len(verdict.wrong) == 3
    assert all(f"{broken}: a list of 1 pages instead of 2" in fault for fault in verdict.wrong)


def test_an_unexpected_version_is_a_phantom_unless_its_load_was_attempted(
    store: Store, loaded: Loaded, look: Callable[..., Verdict], parquet: Any
) -> None:
    name = loaded[0]
    source, other = parquet(3_000, seed=9)
    store.load(name, source)
    assert len(look(latest=None).phantom) == 3
    assert look(latest=None, attempted=[other]).ok
    assert len(look(latest=None, attempted=[random_table(3_000, seed=8)]).wrong) == 3
    assert len(look(attempted=[other]).wrong) == 3, "the latest is another one"


def test_an_unexpected_dataset_is_a_phantom(
    store: Store, loaded: Loaded, look: Callable[..., Verdict], parquet: Any
) -> None:
    store.load(f"{loaded[0]}_other", parquet(100)[0])
    assert len(look().phantom) == 3


def test_other_rows_are_wrong_more_are_phantom_and_fewer_are_lost(
    store: Store, loaded: Loaded, look: Callable[..., Verdict]
) -> None:
    _, label, table = loaded
    assert len(look(versions={label: random_table(table.num_rows, seed=5)}).wrong) == 3
    assert len(look(versions={label: table.slice(0, 10)}).phantom) == 3
    assert len(look(versions={label: pa.concat_tables([table, table])}).lost) == 3


def test_an_unexpected_tag_and_a_tag_on_another_version_are_wrong(look: Callable[..., Verdict]) -> None:
    assert len(look(tags={}).wrong) == 3
    assert len(look(tags={"good": "1-abcdef"}).wrong) == 3
