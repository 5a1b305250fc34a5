"""Undelete alone, concurrent with sweeps, publishers and other users, and with a node down."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from cassandra import ConsistencyLevel

from millrace.api import Store
from millrace.cli.deleting import _removal_facts
from millrace.errors import (
    DatasetNotFoundError,
    StoreError,
    StoreTimeoutError,
    StoreUnavailableError,
    UsageError,
    VersionNotFoundError,
)
from millrace.load import LoadOptions
from millrace.names.references import parse_reference
from millrace.store.catalogue.attempt import MetadataBucket
from millrace.store.catalogue.catalogue_writer import CatalogueWriter
from millrace.store.catalogue.version import DELETED, RESTORED, WITHDRAWN
from millrace.store.cluster.writer import ReplicatedWriter
from millrace.store.deletion.all_replicas import AllReplicas
from millrace.store.deletion.garbage import GarbageSearch
from millrace.store.deletion.sweep import Sweep, SweepReport
from millrace.store.deletion.undelete import Undelete
from tests.unit.store import fakes
from tests.unit.store.fakes import FakeCassandra, no_host

Csv = Callable[..., str]
APPEND = LoadOptions(mode="append")
NOW = timedelta(0)
LIST_IN_A_PAGE = json.dumps({"attempt_id": UUID(int=1).hex, "page": 0, "checksum": "00" * 16}).encode()
"""Replaces a version's list of pages; the page it references does not exist."""


@pytest.fixture
def labels(store: Store, csv: Csv) -> list[str]:
    """Load ``d`` in three versions, each a replace, and return their labels; finished loads delay no sweep."""
    for k in range(3):
        store.load("d", csv(3, first=10 * k, name=f"{k}.csv"))
    store.alive = NOW
    return [version.label for version in reversed(store.versions("d"))]


def numbers(store: Store, reference: str = "d") -> list[int]:
    return sorted(int(n) for n in store.dataset(reference).to_table()["n"].to_pylist())


def visible(store: Store) -> list[int]:
    return [version.number for version in store.versions("d")]


def row_of(cassandra: FakeCassandra, label: str) -> dict[str, Any]:
    return next(row for row in cassandra.table("versions") if f"{row['number']}-{row['hex']}" == label)


def set_mark(cassandra: FakeCassandra, label: str, **cells: Any) -> None:
    for host in (cassandra.a, cassandra.b):
        for key, (stamp, row) in list(host.rows["versions"].items()):
            if f"{row['number']}-{row['hex']}" == label:
                host.rows["versions"][key] = (stamp, {**row, **cells})


def add_twin(store: Store, cassandra: FakeCassandra, **changes: Any) -> None:
    """Add a version ``3-00000f`` that differs from the third version only in its hex and in ``changes``."""
    changes = {"hex": "00000f", **changes}
    checksum = replace(store.version("d@3"), **changes).compute_checksum()
    for host in (cassandra.a, cassandra.b):
        [(stamp, row)] = [item for item in host.rows["versions"].values() if item[1]["number"] == 3]
        host.rows["versions"]["d", 3, "00000f"] = (stamp, {**row, **changes, "checksum": checksum})


# --- alone


@pytest.mark.parametrize("how", ["number", "full", "time"])
def test_an_undeleted_version_is_visible_again_with_its_rows(store: Store, labels: list[str], how: str) -> None:
    moment = store.version("d@2").committed_at.isoformat()
    store.delete("d@2")
    assert visible(store) == [3, 1]
    selector = {"number": "2", "full": labels[1], "time": moment}[how]
    report = store.undelete(f"d@{selector}")
    assert (report.version, report.latest, report.merges_with, report.dry_run) == (labels[1], False, (), False)
    assert visible(store) == [3, 2, 1]
    assert numbers(store, "d@2") == [10, 11, 12]


def test_undelete_writes_its_mark_as_a_value_at_consistency_all_and_nulls_no_cell(
    store: Store, cassandra: FakeCassandra, labels: list[str]
) -> None:
    store.delete("d@3")
    deleted_at = row_of(cassandra, labels[2])["deleted_at"]
    assert row_of(cassandra, labels[2])["mark"] == DELETED
    cassandra.reads.clear()
    store.undelete("d@3")
    row = row_of(cassandra, labels[2])
    assert (row["mark"], row["deleted_at"]) == (RESTORED, deleted_at)
    written = [(query, level) for query, level, _ in cassandra.reads if query.startswith("UPDATE")]
    assert [level for _, level in written] == [ConsistencyLevel.ALL]
    assert "null" not in written[0][0]
    marks = {level for query, level, _ in cassandra.reads if query.startswith("SELECT mark, WRITETIME")}
    assert marks == {ConsistencyLevel.ALL}


def test_a_version_can_be_deleted_and_undeleted_repeatedly(
    store: Store, cassandra: FakeCassandra, labels: list[str]
) -> None:
    for _ in range(3):
        store.delete("d@3")
        assert (visible(store), store.version("d").label) == ([2, 1], labels[1])
        assert store.undelete("d@3").latest is True
        assert (visible(store), store.version("d").label) == ([3, 2, 1], labels[2])
    store.delete("d@3", now=True)
    assert row_of(cassandra, labels[2])["purged_at"] is not None
    with pytest.raises(VersionNotFoundError, match="cannot be undeleted, because its data was removed"):
        store.undelete("d@3")


def test_the_grace_period_restarts_with_the_next_deletion(
    store: Store, cassandra: FakeCassandra, labels: list[str]
) -> None:
    store.delete("d@3")
    set_mark(cassandra, labels[2], deleted_at=datetime.now(UTC) - timedelta(hours=30))
    store.undelete("d@3")
    assert store.fsck(delete=True).removed_attempts == 0
    store.delete("d@3")
    assert store.fsck(delete=True).removed_attempts == 0
    assert store.undelete("d@3").latest is True
    assert numbers(store) == [20, 21, 22]


def test_a_version_that_prune_marked_can_be_undeleted(store: Store, labels: list[str]) -> None:
    store.prune("d", 1)
    assert [version.label for version in store.versions("d", deleted=True)] == [labels[1], labels[0]]
    store.undelete("d@1")
    assert visible(store) == [3, 1]
    assert [version.label for version in store.versions("d", deleted=True)] == [labels[1]]


def test_a_deleted_dataset_can_be_undeleted_version_by_version(store: Store, labels: list[str]) -> None:
    store.delete("d", whole=True)
    with pytest.raises(DatasetNotFoundError):
        store.versions("d")
    for version in store.versions("d", deleted=True):
        store.undelete(version.reference)
    assert visible(store) == [3, 2, 1]
    assert store.versions("d", deleted=True) == []


def test_a_dry_run_changes_nothing_and_raises_the_same_errors(
    store: Store, cassandra: FakeCassandra, labels: list[str]
) -> None:
    store.delete("d@3")
    before = [dict(row) for row in cassandra.table("versions")]
    report = store.undelete("d@3", dry_run=True)
    assert (report.version, report.latest, report.dry_run) == (labels[2], True, True)
    assert cassandra.table("versions") == before
    with pytest.raises(UsageError, match=r"d@1-\w+ is not deleted"):
        store.undelete("d@1", dry_run=True)
    with ReplicatedWriter(cassandra, window_bytes=1_000_000) as writes:
        CatalogueWriter(cassandra, writes).record_under_replicated(
            "d", row_of(cassandra, labels[2])["attempt_id"], MetadataBucket.CATALOGUE, 0
        )
    with pytest.raises(StoreError, match="catalogue rows on one node only, so nothing was changed"):
        store.undelete("d@3", dry_run=True)


@pytest.mark.parametrize(
    ("reference", "error", "message"),
    [
        ("d@1", UsageError, r"d@1-\w+ is not deleted"),
        ("d", UsageError, "write its number or full version after @"),
        ("d@latest", UsageError, "write its number or full version after @"),
        ("d@good", UsageError, "write its number or full version after @"),
        ("d@9", VersionNotFoundError, "d never had a version 9"),
        ("d@3-ffffff", VersionNotFoundError, "d never had a version 3-ffffff"),
        ("d@2999-01-01", VersionNotFoundError, "d never had a version 2999-01-01"),
        ("other@1", DatasetNotFoundError, "there is no dataset 'other'"),
    ],
)
def test_a_reference_to_no_deleted_version_is_refused_with_the_reason(
    store: Store, labels: list[str], reference: str, error: type[Exception], message: str
) -> None:
    store.delete("d@3")
    with pytest.raises(error, match=message):
        store.undelete(reference)
    assert visible(store) == [2, 1]


def test_a_number_of_two_deleted_versions_is_refused_with_both(
    store: Store, cassandra: FakeCassandra, labels: list[str]
) -> None:
    add_twin(store, cassandra)
    for label in (labels[2], "3-00000f"):
        set_mark(cassandra, label, mark=DELETED, deleted_at=datetime.now(UTC))
    with pytest.raises(UsageError, match="d@3 names 2 versions") as caught:
        store.undelete("d@3")
    assert set(caught.value.context["versions"]) == {f"d@{labels[2]}", "d@3-00000f"}
    assert store.undelete(f"d@{labels[2]}").version == labels[2]


def test_of_two_versions_with_one_number_the_deleted_one_is_undeleted(
    store: Store, cassandra: FakeCassandra, labels: list[str]
) -> None:
    add_twin(store, cassandra)
    set_mark(cassandra, labels[2], mark=DELETED, deleted_at=datetime.now(UTC))
    assert store.undelete("d@3").version == labels[2]


# --- versions withdrawn by their publisher


def withdraw(store: Store, cassandra: FakeCassandra, reference: str) -> None:
    version = store.version(reference)
    with ReplicatedWriter(cassandra, window_bytes=1_000_000) as writes:
        CatalogueWriter(cassandra, writes).withdraw(version)


def test_a_withdrawn_version_has_its_own_mark_and_cannot_be_undeleted(
    store: Store, cassandra: FakeCassandra, labels: list[str]
) -> None:
    withdraw(store, cassandra, "d@3")
    assert row_of(cassandra, labels[2])["mark"] == WITHDRAWN
    assert visible(store) == [2, 1]
    assert store.versions("d", deleted=True) == []
    with pytest.raises(
        VersionNotFoundError, match="cannot be undeleted, because the load that published it withdrew it"
    ):
        store.undelete("d@3")
    assert visible(store) == [2, 1]


def test_a_withdrawal_has_a_future_timestamp_and_no_mark_overwrites_it(
    store: Store, cassandra: FakeCassandra, labels: list[str]
) -> None:
    version = store.version("d@3")
    withdraw(store, cassandra, "d@3")
    [sent] = {attempt.statement.values[-1] for attempt in cassandra.writes() if attempt.rows[0][1].get("mark")}
    assert int.from_bytes(sent, "big") > (datetime.now(UTC) + timedelta(hours=24)).timestamp() * 1_000_000
    for mark in (DELETED, RESTORED):
        AllReplicas(cassandra).write_mark(version, mark, datetime.now(UTC))
    assert row_of(cassandra, labels[2])["mark"] == WITHDRAWN


def test_a_version_that_its_publisher_withdraws_during_an_undelete_stays_withdrawn(
    store: Store, cassandra: FakeCassandra, labels: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store.delete("d@3")
    require_recoverable = Undelete._require_recoverable
    calls = []

    def withdrawn_between(undelete: Undelete, version: Any) -> None:
        require_recoverable(undelete, version)
        calls.append(version)
        if len(calls) == 2:  # after every check, before the mark is written
            with ReplicatedWriter(cassandra, window_bytes=1_000_000) as writes:
                CatalogueWriter(cassandra, writes).withdraw(version)

    monkeypatch.setattr(Undelete, "_require_recoverable", withdrawn_between)
    with pytest.raises(VersionNotFoundError, match="the load that published it withdrew it"):
        store.undelete("d@3")
    assert visible(store) == [2, 1]


def test_a_version_marked_by_an_older_millrace_is_refused(
    store: Store, cassandra: FakeCassandra, labels: list[str]
) -> None:
    """Its row does not say whether publishing withdrew it."""
    set_mark(cassandra, labels[2], mark=None, deleted_at=datetime.now(UTC))
    assert visible(store) == [2, 1]
    assert store.versions("d", deleted=True) == []
    with pytest.raises(VersionNotFoundError, match="an older Millrace marked it"):
        store.undelete("d@3")


# --- sweeps


def fence(cassandra: FakeCassandra, which: Callable[[dict[str, Any]], bool]) -> None:
    for host in (cassandra.a, cassandra.b):
        for key, (stamp, row) in list(host.rows["attempts"].items()):
            if which(row):
                host.rows["attempts"][key] = (stamp, {**row, "fenced": True})


@pytest.mark.parametrize("whose", ["publisher", "loader"])
@pytest.mark.parametrize("what", ["fenced", "gone"])
def test_a_version_that_a_sweep_has_begun_to_remove_is_refused(
    store: Store, cassandra: FakeCassandra, labels: list[str], whose: str, what: str
) -> None:
    store.delete("d@3")
    rows = [row for row in cassandra.table("attempts") if row["version"] == labels[2]]
    assert len(rows) == 2
    publisher = row_of(cassandra, labels[2])["attempt_id"]
    chosen = next(row["attempt_id"] for row in rows if (row["attempt_id"] == publisher) == (whose == "publisher"))
    if what == "fenced":
        fence(cassandra, lambda row: row["attempt_id"] == chosen)
    else:
        for host in (cassandra.a, cassandra.b):
            del host.rows["attempts"]["d", chosen]
    with pytest.raises(
        VersionNotFoundError, match="cannot be undeleted, because a sweep has marked its data for removal"
    ):
        store.undelete("d@3")
    assert store.versions("d", deleted=True) == []
    assert visible(store) == [2, 1]
    assert row_of(cassandra, labels[2])["mark"] == DELETED


@pytest.mark.parametrize("table", ["pages", "versions"])
def test_a_version_without_its_list_of_pages_is_neither_listed_nor_undeleted(
    store: Store, cassandra: FakeCassandra, labels: list[str], table: str
) -> None:
    version = replace(store.version("d@3"), pages_blob=LIST_IN_A_PAGE)
    store.delete("d@3")
    if table == "pages":  # a long list is stored in a page of its own
        set_mark(cassandra, labels[2], pages=LIST_IN_A_PAGE, checksum=version.compute_checksum())
    else:
        set_mark(cassandra, labels[2], pages=b"damaged")
    assert store.versions("d", deleted=True) == []
    with pytest.raises(VersionNotFoundError, match="its list of pages or files is missing or damaged"):
        store.undelete("d@3")


def test_of_two_deleted_versions_with_one_number_the_recoverable_one_is_undeleted(
    store: Store, cassandra: FakeCassandra, labels: list[str]
) -> None:
    add_twin(store, cassandra, attempt_id=uuid4())
    for label in (labels[2], "3-00000f"):
        set_mark(cassandra, label, mark=DELETED, deleted_at=datetime.now(UTC))
    assert [version.label for version in store.versions("d", deleted=True)] == [labels[2]]
    assert store.undelete("d@3").version == labels[2]


class Stop(BaseException):
    """Raised at the point at which the process is killed."""


def at_step(monkeypatch: pytest.MonkeyPatch, kind: type, name: str, act: Callable[[], None], *, after: bool) -> None:
    """Do ``act`` once, before or after the first call of a method."""
    inner, done = getattr(kind, name), []

    def stepped(self: Any, *args: Any, **options: Any) -> Any:
        if not after and not done:
            done.append(True)
            act()
        result = inner(self, *args, **options)
        if after and not done:
            done.append(True)
            act()
        return result

    monkeypatch.setattr(kind, name, stepped)


def assert_whole_or_deleted(store: Store) -> bool:
    """Return whether d@3 is visible; if so, assert that its rows are complete and that the next sweep keeps them."""
    is_visible = 3 in visible(store)
    store.catalogue.pages.page_list.cache_clear()
    if is_visible:
        assert numbers(store, "d@3") == [20, 21, 22]
        store.fsck(delete=True, now=True)
        assert numbers(store, "d@3") == [20, 21, 22]
    assert numbers(store, "d@2") == [10, 11, 12]
    return is_visible


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(
    ("kind", "step"),
    [
        (GarbageSearch, "find"),
        (Sweep, "_fence"),
        (GarbageSearch, "references"),
        (Sweep, "_remove"),
        (Sweep, "empty_deleted"),
        (AllReplicas, "versions_with_data"),
        (AllReplicas, "attempts"),
        (AllReplicas, "protected_versions"),
    ],
)
def test_an_undelete_at_any_step_of_a_sweep_leaves_the_version_whole_or_deleted(
    store: Store, labels: list[str], monkeypatch: pytest.MonkeyPatch, kind: type, step: str, after: bool
) -> None:
    store.delete("d@3")
    outcome = []

    def undelete() -> None:
        try:
            outcome.append(store.undelete(f"d@{labels[2]}"))
        except VersionNotFoundError as error:
            assert "cannot be undeleted" in str(error)  # noqa: PT017 either may win
            outcome.append(None)

    with monkeypatch.context() as patched:
        at_step(patched, kind, step, undelete, after=after)
        store.fsck(delete=True, now=True)
    assert len(outcome) == 1
    assert assert_whole_or_deleted(store) is (outcome[0] is not None)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(
    ("kind", "step"),
    [
        (Undelete, "find"),
        (Undelete, "_registered_as_attempt"),
        (Undelete, "_require_recoverable"),
        (AllReplicas, "write_mark"),
        (Undelete, "_require_restored"),
        (AllReplicas, "versions"),
    ],
)
@pytest.mark.parametrize("killed", [False, True], ids=["finished", "killed"])
def test_a_sweep_or_a_kill_at_any_step_of_an_undelete_leaves_the_version_whole_or_deleted(
    store: Store, labels: list[str], monkeypatch: pytest.MonkeyPatch, kind: type, step: str, after: bool, killed: bool
) -> None:
    """The undelete's own attempt row was seen just before, so the undelete counts as alive for hours."""
    store.delete("d@3")

    def sweep_now() -> None:
        with pytest.MonkeyPatch.context() as patched:
            count_undeletes_alone_as_active(patched)
            store.fsck(delete=True, now=True)
        if killed:
            raise Stop

    outcome = None
    with monkeypatch.context() as patched:
        at_step(patched, kind, step, sweep_now, after=after)
        try:
            outcome = store.undelete(f"d@{labels[2]}").version
        except VersionNotFoundError as error:
            assert "cannot be undeleted" in str(error)  # noqa: PT017 either may win
        except Stop:
            outcome = "killed"
    is_visible = assert_whole_or_deleted(store)
    if outcome != "killed":
        assert is_visible is (outcome is not None)


def count_undeletes_alone_as_active(monkeypatch: pytest.MonkeyPatch) -> None:
    def active_runs(_search: GarbageSearch, attempts: Any, referenced: Any, _now: datetime) -> set[str]:
        return {a.run for a in attempts if a.attempt_id not in referenced and a.run.startswith("undelete")}

    monkeypatch.setattr(GarbageSearch, "active_runs", active_runs)


def test_a_sweep_waits_for_an_undelete_in_progress(
    store: Store, cassandra: FakeCassandra, labels: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store.delete("d@3")
    store.alive = timedelta(hours=3)
    hours_ago = datetime.now(UTC).replace(tzinfo=None) - timedelta(hours=4)
    for host in (cassandra.a, cassandra.b):  # the loads of the test itself have ended
        for _, row in host.rows["attempts"].values():
            row["last_seen"] = hours_ago
    undelete = Undelete(store.catalogue, AllReplicas(cassandra))
    version = undelete.find("d", parse_reference(f"d@{labels[2]}")[1])
    with undelete._registered_as_attempt(version):
        report = store.fsck(delete=True, now=True)
        assert (report.removed_attempts, report.waiting) == (0, 2)
    assert not [row for row in cassandra.table("attempts") if row["run"].startswith("undelete")]
    assert store.fsck(delete=True, now=True).removed_attempts == 2


def undeleted_between(store: Store, monkeypatch: pytest.MonkeyPatch, reference: str) -> None:
    """Run a sweep that finds the version deleted, fences its writers after the undelete, and removes nothing."""
    with monkeypatch.context() as patched:
        at_step(patched, Sweep, "_fence", lambda: store.undelete(reference), after=False)
        assert store.fsck(delete=True, now=True).removed_attempts == 0


def test_deleting_a_version_that_a_sweep_has_fenced_reports_that_it_cannot_be_undeleted(
    store: Store, labels: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store.delete("d@2")
    undeleted_between(store, monkeypatch, "d@2")
    assert numbers(store, "d@2") == [10, 11, 12]
    for dry_run in (True, False):
        report = store.prune("d", 1, dry_run=dry_run)
        assert (report.marked, report.final) == ([f"d@{labels[1]}", f"d@{labels[0]}"], [f"d@{labels[1]}"])
        shown = dict(_removal_facts(report, now=False))
        assert shown["cannot be restored"] == f"d@{labels[1]}"
        assert shown.get("until then") == (None if dry_run else f"millrace undelete d@{labels[0]}")
    assert [version.label for version in store.versions("d", deleted=True)] == [labels[0]]
    with pytest.raises(VersionNotFoundError, match="a sweep has marked its data for removal"):
        store.undelete("d@2")
    assert dict(_removal_facts(store.delete("d@3"), now=False)).keys() == {"their data", "until then"}


def test_a_version_undeleted_before_a_sweep_fenced_it_can_be_undeleted_twice(
    store: Store, cassandra: FakeCassandra, labels: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store.delete("d@2")
    undeleted_between(store, monkeypatch, "d@2")
    assert store.undelete("d@2", dry_run=True).version == labels[1]
    again = store.undelete("d@2")
    assert (again.version, again.deleted_at) == (labels[1], None)
    assert visible(store) == [3, 2, 1]
    assert row_of(cassandra, labels[1])["mark"] == RESTORED


def test_no_mark_is_written_if_a_sweep_ran_after_the_version_was_found(
    store: Store, cassandra: FakeCassandra, labels: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after its mark, the undelete would leave a visible version whose data is gone."""
    store.delete("d@3")
    marks: list[Any] = []
    at_step(monkeypatch, Undelete, "restore", lambda: _sweep(store), after=False)
    monkeypatch.setattr(AllReplicas, "write_mark", lambda _self, *mark: marks.append(mark))
    with pytest.raises(VersionNotFoundError, match="a sweep has marked its data for removal"):
        store.undelete("d@3")
    assert marks == []


def test_a_sweep_stops_for_an_undelete_that_began_before_it_fenced_the_writers(
    store: Store, cassandra: FakeCassandra, labels: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The undelete checks before the sweep, marks after it, and is killed before its second check."""
    store.delete("d@3")
    count_undeletes_alone_as_active(monkeypatch)
    undelete = Undelete(store.catalogue, AllReplicas(cassandra))
    version = undelete.find("d", parse_reference(f"d@{labels[2]}")[1])
    under_way = undelete._registered_as_attempt(version)

    def begin() -> None:
        under_way.__enter__()
        undelete._require_recoverable(version)

    with monkeypatch.context() as patched:
        at_step(patched, Sweep, "_fence", begin, after=False)
        assert store.fsck(delete=True, now=True).removed_attempts == 0
    AllReplicas(cassandra).write_mark(version, RESTORED, version.deleted_at or datetime.now(UTC))
    assert numbers(store, "d@3") == [20, 21, 22]


def test_a_sweep_does_not_empty_a_version_that_is_deleted_while_it_runs(
    store: Store, labels: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its data was not removed, so it can be restored."""
    store.delete("d@3")
    with monkeypatch.context() as patched:
        at_step(patched, Sweep, "empty_deleted", lambda: store.delete("d@2"), after=False)
        assert store.fsck(delete=True, now=True).removed_attempts == 2
    assert store.undelete("d@2").version == labels[1]
    assert numbers(store, "d@2") == [10, 11, 12]


def test_an_undelete_that_slept_longer_than_it_counts_as_alive_reverts_itself(
    store: Store, cassandra: FakeCassandra, labels: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not protected then: the sweep ran between its check and its mark."""
    store.delete("d@3")
    at_step(monkeypatch, AllReplicas, "write_mark", lambda: _sweep(store), after=False)
    with pytest.raises(VersionNotFoundError, match="a sweep has marked its data for removal"):
        store.undelete("d@3")
    assert row_of(cassandra, labels[2])["mark"] == DELETED
    assert visible(store) == [2, 1]


def _sweep(store: Store) -> SweepReport:
    return store.fsck(delete=True, now=True)


def test_fsck_and_prune_do_not_report_an_undeleted_version(store: Store, labels: list[str]) -> None:
    store.delete("d@2")
    store.undelete("d@2")
    report = store.fsck(delete=True, now=True)
    assert (report.garbage, report.removed_attempts, report.missing, report.problems) == ([], 0, [], [])
    assert store.prune("d", 2, dry_run=True).marked == [f"d@{labels[0]}"]


# --- concurrent users


def test_two_concurrent_undeletes_of_a_version_both_succeed(
    store: Store, cassandra: FakeCassandra, labels: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store.delete("d@3")
    other: list[str] = []
    with monkeypatch.context() as patched:
        at_step(patched, AllReplicas, "write_mark", lambda: other.append(store.undelete("d@3").version), after=False)
        assert store.undelete("d@3").version == labels[2]
    assert other == [labels[2]]
    again = store.undelete("d@3")
    assert (again.version, again.deleted_at) == (labels[2], None)
    assert visible(store) == [3, 2, 1]


def test_an_undelete_with_a_concurrent_delete_does_not_report_success(
    store: Store, cassandra: FakeCassandra, labels: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store.delete("d@3")
    with monkeypatch.context() as patched:
        at_step(patched, AllReplicas, "write_mark", lambda: store.delete("d@3"), after=True)
        # The second delete finds the version visible as soon as it is marked.
        with pytest.raises(VersionNotFoundError, match=f"d@{labels[2]} was deleted again at the same moment: millrace"):
            store.undelete("d@3")
    assert visible(store) == [2, 1]
    assert store.undelete("d@3").version == labels[2]


def test_a_concurrent_prune_wins_or_loses_as_a_whole(
    store: Store, cassandra: FakeCassandra, labels: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store.delete("d@1")
    with monkeypatch.context() as patched:
        at_step(patched, AllReplicas, "write_mark", lambda: store.prune("d", 1), after=True)
        with suppress(VersionNotFoundError):
            store.undelete("d@1")
    assert visible(store) in ([3], [3, 1])
    assert row_of(cassandra, labels[0])["mark"] in (DELETED, RESTORED)
    assert row_of(cassandra, labels[1])["mark"] == DELETED
    store.undelete("d@2")
    assert numbers(store, "d@2") == [10, 11, 12]


def test_a_load_that_published_meanwhile_stays_the_latest(store: Store, csv: Csv, labels: list[str]) -> None:
    store.delete("d@3")
    store.load("d", csv(3, first=90, name="new.csv"))
    report = store.undelete("d@3")
    assert (report.latest, visible(store)) == (False, [4, 3, 2, 1])
    assert numbers(store) == [90, 91, 92]


def test_a_load_planned_with_the_number_of_a_deleted_version_publishes_beside_it(
    store: Store, cassandra: FakeCassandra, csv: Csv, labels: list[str]
) -> None:
    """Planned when d@2 was the latest, published when d@3 was deleted: both have number 3."""
    store.delete("d@3")
    plan = store.plan("d", csv(3, first=90, name="new.csv"), run="other")
    taken = int(labels[2].partition("-")[0])
    plan = replace(plan, number=taken)
    store.publish(plan, [store.load_split(plan, None)])
    assert {version.number for version in store.versions("d")} >= {2, 1}
    latest = store.version("d").label
    store.undelete(f"d@{labels[2]}")
    assert {version.label for version in store.versions("d")} >= {latest, labels[2]}
    assert numbers(store, f"d@{labels[2]}") == [20, 21, 22]
    assert numbers(store, f"d@{latest}") == [90, 91, 92]


def test_undelete_reports_the_later_appends_that_an_append_is_merged_with(store: Store, csv: Csv) -> None:
    for k in range(2):
        store.load("d", csv(3, first=10 * k, name=f"{k}.csv"), APPEND)
    store.delete("d@2")
    store.load("d", csv(3, first=20, name="2.csv"), APPEND)
    latest = store.version("d").label
    assert store.undelete("d@2", dry_run=True).merges_with == (latest,)
    assert store.undelete("d@2").merges_with == (latest,)
    assert numbers(store) == [0, 1, 2, 20, 21, 22]
    store.load("d", csv(3, first=30, name="3.csv"), APPEND)
    assert numbers(store) == [0, 1, 2, 10, 11, 12, 20, 21, 22, 30, 31, 32]


def test_a_run_whose_version_was_undeleted_is_not_loaded_twice(store: Store, csv: Csv) -> None:
    source = csv(3)
    store.load("d", source, APPEND, run="r1")
    store.load("d", csv(3, first=10, name="b.csv"), run="r2")
    store.delete("d@1")
    store.undelete("d@1")
    assert store.load("d", source, APPEND, run="r1").version == store.version("d@1").label
    assert visible(store) == [2, 1]


def test_an_undeleted_version_can_be_tagged_and_is_then_not_deleted(store: Store, labels: list[str]) -> None:
    store.delete("d@1")
    store.undelete("d@1")
    store.tag("d@1", "good")
    with pytest.raises(UsageError, match="has the tag good"):
        store.delete("d@1")
    assert store.version("d@good").label == labels[0]


# --- nodes and clocks


@pytest.mark.parametrize("dry_run", [False, True])
def test_undelete_is_refused_with_one_line_while_a_node_is_down(
    store: Store, cassandra: FakeCassandra, labels: list[str], dry_run: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.delete("d@3")
    monkeypatch.setattr(FakeCassandra, "missing", lambda _self: ["10.0.0.2"])
    with pytest.raises(StoreUnavailableError, match=r"taking back a deletion needs every node, 10\.0\.0\.2 is down"):
        store.undelete("d@3", dry_run=dry_run)
    assert row_of(cassandra, labels[2])["mark"] == DELETED


def test_an_undelete_that_loses_a_node_leaves_the_version_deleted_and_can_be_repeated(
    store: Store, cassandra: FakeCassandra, labels: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store.delete("d@3")

    def lose_node() -> None:
        cassandra.unreachable["10.0.0.2"] = no_host(cassandra.b, ConnectionError("gone"))

    with monkeypatch.context() as patched:
        at_step(patched, AllReplicas, "write_mark", lose_node, after=False)
        with pytest.raises(StoreUnavailableError):
            store.undelete("d@3")
    assert row_of(cassandra, labels[2])["mark"] == DELETED
    cassandra.unreachable.clear()
    assert store.undelete("d@3").version == labels[2]
    assert numbers(store) == [20, 21, 22]


def test_an_undelete_whose_first_write_times_out_leaves_no_row_that_delays_sweeps(
    store: Store, cassandra: FakeCassandra, labels: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a timeout at ALL the row may or may not exist."""
    store.delete("d@3")
    inner = AllReplicas.execute

    def timed_out(replicas: AllReplicas, query: str, values: tuple[Any, ...]) -> None:
        inner(replicas, query, values)
        if query.startswith("INSERT"):
            raise StoreTimeoutError("no answer in time")

    with monkeypatch.context() as patched:
        patched.setattr(AllReplicas, "execute", timed_out)
        with pytest.raises(StoreTimeoutError):
            store.undelete("d@3")
    assert not [row for row in cassandra.table("attempts") if row["run"].startswith("undelete")]
    assert row_of(cassandra, labels[2])["mark"] == DELETED


def test_undelete_is_refused_while_catalogue_rows_are_on_one_node_only(
    store: Store, cassandra: FakeCassandra, labels: list[str]
) -> None:
    store.delete("d@3")
    with ReplicatedWriter(cassandra, window_bytes=1_000_000) as writes:
        CatalogueWriter(cassandra, writes).record_under_replicated(
            "d", row_of(cassandra, labels[2])["attempt_id"], MetadataBucket.CATALOGUE, 0
        )
    with pytest.raises(StoreError, match="catalogue rows on one node only, so nothing was changed: millrace repair d"):
        store.undelete("d@3")
    assert visible(store) == [2, 1]


def test_the_write_time_is_later_than_that_of_the_deletion_even_if_the_clock_is_behind(
    store: Store, cassandra: FakeCassandra, labels: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store.delete("d@3")
    ahead = 4_000_000_000_000_000
    cell = fakes._cell
    monkeypatch.setattr(fakes, "_cell", lambda row, name: ahead if name == "WRITETIME(mark)" else cell(row, name))
    sent: list[int] = []
    execute = cassandra._execute

    def spied(statement: Any, timeout: float | None = None, host: Any = None) -> Any:
        if "SET deleted_at" in statement.prepared_statement.query_string:
            sent.append(int.from_bytes(statement.values[0], "big"))
        return execute(statement, timeout, host)

    cassandra.session.execute = spied
    store.undelete("d@3")
    assert sent == [ahead + 1]


def test_a_row_of_which_a_node_has_only_the_marks_does_not_fail_a_listing(
    store: Store, cassandra: FakeCassandra, labels: list[str]
) -> None:
    [key] = [key for key in cassandra.b.rows["versions"] if key[1] == 3]
    store.delete("d@3")
    store.undelete("d@3")
    _, row = cassandra.b.rows["versions"][key]
    marks = ("dataset", "number", "hex", "deleted_at", "mark")
    cassandra.b.rows["versions"][key] = (0, {name: row[name] if name in marks else None for name in row})
    assert visible(store) == [3, 2, 1]
    cassandra.unreachable[cassandra.a.address] = no_host(cassandra.a, ConnectionError("gone"))
    assert visible(store) == [2, 1]


@pytest.mark.parametrize("node", ["a", "b"])
def test_a_mark_that_one_node_alone_has_is_overwritten_on_both(
    store: Store, cassandra: FakeCassandra, labels: list[str], node: str
) -> None:
    store.delete("d@3")
    host = getattr(cassandra, node)
    [key] = [key for key in host.rows["versions"] if key[1] == 3]
    _, row = host.rows["versions"][key]
    host.rows["versions"][key] = (0, {**row, "deleted_at": None, "mark": None})
    assert store.undelete("d@3").version == labels[2]
    assert [each.rows["versions"][key][1]["mark"] for each in (cassandra.a, cassandra.b)] == [RESTORED, RESTORED]
    for down in (cassandra.a, cassandra.b):
        cassandra.unreachable = {down.address: no_host(down, ConnectionError("gone"))}
        assert visible(store) == [3, 2, 1]


@pytest.mark.parametrize("node", ["a", "b"])
def test_a_fence_that_one_node_alone_has_refuses_an_undelete(
    store: Store, cassandra: FakeCassandra, labels: list[str], node: str
) -> None:
    store.delete("d@3")
    host, publisher = getattr(cassandra, node), row_of(cassandra, labels[2])["attempt_id"]
    stamp, row = host.rows["attempts"]["d", publisher]
    host.rows["attempts"]["d", publisher] = (stamp + 1, {**row, "fenced": True})
    with pytest.raises(VersionNotFoundError, match="a sweep has marked its data for removal"):
        store.undelete("d@3")
    assert row_of(cassandra, labels[2])["mark"] == DELETED


def test_the_catalogue_lists_recoverable_versions_with_a_node_down(
    store: Store, cassandra: FakeCassandra, labels: list[str]
) -> None:
    store.delete("d@3")
    cassandra.unreachable[cassandra.a.address] = no_host(cassandra.a, ConnectionError("gone"))
    assert [version.label for version in store.versions("d", deleted=True)] == [labels[2]]
    assert store.catalogue.reader.was_degraded


def test_listing_deleted_versions_of_an_unknown_dataset_is_refused(store: Store) -> None:
    with pytest.raises(DatasetNotFoundError, match="there is no dataset 'nothing'"):
        store.versions("nothing", deleted=True)
