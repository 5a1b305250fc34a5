"""Tags: moved and removed by rows that are overwritten, each with a later write time than the one before."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from millrace.api import Store
from millrace.errors import VersionNotFoundError
from millrace.store.catalogue.attempt import MetadataBucket
from millrace.store.catalogue.catalogue import Catalogue
from millrace.store.catalogue.row_reader import Rows
from millrace.store.catalogue.version import Version
from millrace.store.cluster.driver import TWO
from tests.unit.store import fakes
from tests.unit.store.fakes import FakeCassandra, reset

Csv = Callable[..., str]


@pytest.fixture
def labels(store: Store, csv: Csv) -> list[str]:
    """Return the labels of two versions, oldest first."""
    return [store.load("d", csv(3, first=10 * k, name=f"{k}.csv")).version for k in range(2)]


def test_a_removed_tag_names_no_version_and_can_be_set_again(store: Store, labels: list[str]) -> None:
    store.tag("d@1", "good")
    store.untag("d", "good")
    assert store.tags("d") == {}
    with pytest.raises(VersionNotFoundError, match="has no version good"):
        store.version("d@good")
    with pytest.raises(VersionNotFoundError, match="d has no tag 'good'"):
        store.untag("d", "good")
    store.tag("d@2", "good")
    assert (store.tags("d"), store.version("d@good").label) == ({"good": labels[1]}, labels[1])


def test_a_removed_tag_does_not_protect_its_version_from_a_deletion(store: Store, labels: list[str]) -> None:
    store.tag("d@1", "good")
    store.untag("d", "good")
    assert store.delete("d@1").marked == [f"d@{labels[0]}"]


def test_a_tag_is_removed_by_a_value_in_a_row_that_stays(
    store: Store, cassandra: FakeCassandra, labels: list[str]
) -> None:
    """The write time of a tombstone cannot be read, so a later move could be written with an earlier time."""
    store.tag("d@1", "good")
    cassandra.reads.clear()
    store.untag("d", "good")
    assert not [query for query, _, _ in cassandra.reads if query.startswith("DELETE")]
    [row] = cassandra.table("tags")
    assert (f"{row['number']}-{row['hex']}", row["removed"]) == (labels[0], True)


def test_each_write_of_a_tag_has_every_column_and_a_later_time_even_if_the_clock_is_behind(
    store: Store, cassandra: FakeCassandra, labels: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store.tag("d@1", "good")
    ahead, cell = 4_000_000_000_000_000, fakes._cell
    monkeypatch.setattr(fakes, "_cell", lambda row, name: ahead if name == "WRITETIME(number)" else cell(row, name))
    cassandra.attempts.clear()
    store.tag("d@2", "good")
    store.untag("d", "good")
    later = [attempt for attempt in cassandra.writes() if attempt.rows[0][0] == "tags"]
    assert len(later) >= 2
    assert {int.from_bytes(attempt.statement.values[-1], "big") for attempt in later} == {ahead + 1}
    assert all(set(row) == {"dataset", "tag", "number", "hex", "removed"} for each in later for _, row in each.rows)


@pytest.mark.parametrize("tagged_before", [False, True])
def test_a_tag_on_a_version_that_is_deleted_meanwhile_goes_back(
    store: Store, labels: list[str], monkeypatch: pytest.MonkeyPatch, tagged_before: bool
) -> None:
    if tagged_before:
        store.tag("d@2", "good")
    version, numbered = store.version("d@1"), Catalogue.numbered

    def gone(catalogue: Catalogue, dataset: str, number: int) -> Rows[Version]:
        return Rows([]) if number == version.number else numbered(catalogue, dataset, number)

    monkeypatch.setattr(store, "version", lambda _reference: version)
    monkeypatch.setattr(Catalogue, "numbered", gone)
    with pytest.raises(VersionNotFoundError, match="was deleted a moment ago, so it has no tag"):
        store.tag("d@1", "good")
    assert store.tags("d") == ({"good": labels[1]} if tagged_before else {})


@pytest.mark.parametrize("act", ["tag", "untag"])
def test_a_tag_that_one_node_alone_has_is_recorded_as_under_replicated(
    store: Store, cassandra: FakeCassandra, labels: list[str], act: str
) -> None:
    store.tag("d@1", "good")
    assert store.under_replicated_of("d") == []
    cassandra.behave = lambda attempt: reset() if attempt.level == TWO or attempt.host is cassandra.b else "ok"
    if act == "tag":
        store.tag("d@2", "good")
    else:
        store.untag("d", "good")
    cassandra.behave = lambda _attempt: "ok"
    latest = store.version("d").attempt_id
    records = {(record.attempt_id, record.bucket) for record in store.under_replicated_of("d")}
    assert records == {(latest, MetadataBucket.CATALOGUE)}
