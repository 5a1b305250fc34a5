"""Deletion of inputs: refused, with everything derived, pruned, undone; interrupted and concurrent with a publisher."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cassandra import ConsistencyLevel

from millrace.api import Store
from millrace.errors import MillraceError, StoreUnavailableError, UsageError, VersionNotFoundError
from millrace.store import Lease, Version
from millrace.store.catalogue.version import DELETED
from millrace.store.deletion.all_replicas import AllReplicas
from millrace.store.deletion.marking import named
from tests.derived import made_from
from tests.unit.store.fakes import FakeCassandra, no_host

Csv = Callable[..., str]
Make = Callable[..., str]


@pytest.fixture
def make(store: Store, tmp_path: Path) -> Make:
    """Return a function that publishes a version made from others; finished loads delay no sweep."""
    store.alive = timedelta(0)

    def publish(name: str, *inputs: str, **options: Any) -> str:
        return made_from(store, name, tmp_path, *inputs, **options)

    return publish


@pytest.fixture
def chain(store: Store, csv: Csv, make: Make) -> dict[str, str]:
    """Make flights and weather, late from both, and late_model from late; return the references by dataset."""
    made = {name: f"{name}@{store.load(name, csv(3)).version}" for name in ("flights", "weather")}
    made["late"] = make("late", "flights", "weather")
    made["late_model"] = make("late_model", "late")
    return made


def visible(store: Store) -> set[str]:
    """Return the references of all visible versions."""
    return {version.reference for name in store.catalogue.names() for version in store.catalogue.versions(name)}


def require_inputs_of_visible_versions(store: Store) -> None:
    """Assert that no visible version has an input that is not visible."""
    seen = visible(store)
    for reference in seen:
        assert set(store.version(reference).inputs.values()) <= seen


# --- refused


@pytest.mark.parametrize("name", ["flights", "weather", "late"])
@pytest.mark.parametrize("whole", [False, True])
def test_an_input_of_a_visible_version_is_not_deleted_and_those_versions_are_named(
    store: Store, chain: dict[str, str], name: str, whole: bool
) -> None:
    with pytest.raises(UsageError) as refused:
        store.delete(name if whole else chain[name], whole=whole)
    derived = [chain["late"], chain["late_model"]] if name != "late" else [chain["late_model"]]
    assert f"{chain[name]} is not deleted, because {', '.join(derived)} w" in str(refused.value)
    assert f"millrace delete {chain[name]} --with-derived" in str(refused.value)
    assert visible(store) == set(chain.values())
    with pytest.raises(UsageError, match="is not deleted"):
        store.delete(name if whole else chain[name], whole=whole, dry_run=True)


def test_many_versions_are_named_by_the_first_three_and_their_number(store: Store, csv: Csv, make: Make) -> None:
    store.load("flights", csv(3))
    for number in range(6):
        make("late", "flights", run=f"run-{number}")
    with pytest.raises(UsageError, match=r"late@\d-\w{6}, late@\d-\w{6}, late@\d-\w{6} and 3 others were made from it"):
        store.delete("flights", whole=True)


def test_the_last_version_of_a_chain_and_a_version_that_nothing_was_made_from_are_deleted(
    store: Store, chain: dict[str, str], csv: Csv
) -> None:
    later = f"flights@{store.load('flights', csv(5)).version}"
    assert store.delete(later).marked == [later]
    for name in ("late_model", "late", "weather", "flights"):
        assert store.delete(name, whole=True).marked == [chain[name]]
    assert visible(store) == set()


def test_a_version_whose_input_is_in_the_same_dataset_is_deleted_together_with_it(
    store: Store, csv: Csv, make: Make
) -> None:
    first = f"m@{store.load('m', csv(3)).version}"
    second = make("m", "m")
    with pytest.raises(UsageError, match=f"{second} was made from it"):
        store.delete(first)
    assert set(store.delete("m", whole=True).marked) == {first, second}


# --- with everything derived


@pytest.mark.parametrize(
    ("name", "gone"),
    [
        ("flights", ["late_model", "late", "flights"]),
        ("late", ["late_model", "late"]),
        ("late_model", ["late_model"]),
    ],
)
@pytest.mark.parametrize("whole", [False, True])
def test_everything_derived_is_deleted_before_its_inputs(
    store: Store, chain: dict[str, str], name: str, gone: list[str], whole: bool
) -> None:
    expected = [chain[each] for each in gone]
    options = {"whole": whole, "with_derived": True}
    shown = store.delete(name if whole else chain[name], dry_run=True, **options)
    assert (shown.marked, shown.tags, visible(store)) == (expected, {}, set(chain.values()))
    report = store.delete(name if whole else chain[name], shown=shown, **options)
    assert report.marked == expected
    assert visible(store) == set(chain.values()) - set(expected)


def test_every_branch_of_a_diamond_is_deleted_once(store: Store, chain: dict[str, str], make: Make) -> None:
    other = make("other", "flights")
    both = make("both", "late", "other")
    report = store.delete("flights", whole=True, with_derived=True)
    assert len(report.marked) == len(set(report.marked))
    assert set(report.marked) == {chain["flights"], chain["late"], chain["late_model"], other, both}
    order = report.marked.index
    assert order(both) < order(other) < order(chain["flights"])
    assert order(chain["late_model"]) < order(chain["late"]) < order(chain["flights"])
    assert visible(store) == {chain["weather"]}


def test_other_versions_of_the_derived_datasets_stay(store: Store, chain: dict[str, str], csv: Csv, make: Make) -> None:
    later = f"flights@{store.load('flights', csv(5)).version}"
    late = make("late", later, "weather")
    store.delete(chain["flights"], with_derived=True)
    assert visible(store) == {later, late, chain["weather"]}


def test_tags_of_all_versions_are_reported_and_removed(store: Store, chain: dict[str, str]) -> None:
    store.tag(chain["late_model"], "best")
    store.tag(chain["late_model"], "good")
    store.tag(chain["flights"], "year")
    with pytest.raises(UsageError, match="were made from it"):
        store.delete("flights", whole=True)
    shown = store.delete("flights", whole=True, with_derived=True, dry_run=True)
    tags = {chain["late_model"]: ["best", "good"], chain["flights"]: ["year"]}
    assert shown.tags == tags
    assert store.tags("late_model") == dict.fromkeys(["best", "good"], chain["late_model"].partition("@")[2])
    assert store.delete("flights", whole=True, with_derived=True, shown=shown).tags == tags
    assert (store.tags("late_model"), store.tags("flights")) == ({}, {})
    assert visible(store) == {chain["weather"]}


def test_a_tag_that_was_moved_to_another_version_stays(store: Store, chain: dict[str, str], make: Make) -> None:
    store.tag(chain["late"], "best")
    later = make("late", "weather", run="later")
    store.tag(later, "best")
    assert store.delete(chain["late"], with_derived=True).tags == {}
    assert store.tags("late") == {"best": later.partition("@")[2]}


@pytest.mark.parametrize("name", ["late_model", "late", "flights"])
def test_a_leased_version_refuses_the_deletion_before_anything_is_marked(
    store: Store, cassandra: FakeCassandra, chain: dict[str, str], name: str
) -> None:
    store.tag(chain["late_model"], "best")
    before = [dict(row) for row in cassandra.table("versions")]
    with Lease(store.cassandra, store.version(chain[name])) as lease:
        lease.wait_taken()
        for dry_run in (True, False):
            with pytest.raises(UsageError, match=f"{chain[name]} is being read"):
                store.delete("flights", whole=True, with_derived=True, dry_run=dry_run)
    assert cassandra.table("versions") == before
    assert store.tags("late_model") == {"best": chain["late_model"].partition("@")[2]}


def test_a_version_that_is_protected_after_its_tags_were_removed_keeps_them(
    store: Store, chain: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store.tag(chain["late_model"], "best")

    def protected(replicas: AllReplicas, version: Version) -> None:
        raise UsageError(f"{version.reference} has the tag new")

    with monkeypatch.context() as patched:
        patched.setattr(AllReplicas, "require_unprotected", protected)
        with pytest.raises(UsageError, match="has the tag new"):
            store.delete("flights", whole=True, with_derived=True)
    assert visible(store) == set(chain.values())
    assert store.tags("late_model") == {"best": chain["late_model"].partition("@")[2]}


def test_a_version_that_was_published_since_the_dry_run_refuses_the_deletion(
    store: Store, chain: dict[str, str], make: Make
) -> None:
    shown = store.delete("flights", whole=True, with_derived=True, dry_run=True)
    model = make("late_model", "late", run="later")
    with pytest.raises(UsageError, match=f"{model} was published since the versions were listed.*run it again"):
        store.delete("flights", whole=True, with_derived=True, shown=shown)
    assert visible(store) == {*chain.values(), model}


def test_a_tag_that_was_set_since_the_dry_run_refuses_the_deletion(store: Store, chain: dict[str, str]) -> None:
    shown = store.delete("flights", whole=True, with_derived=True, dry_run=True)
    store.tag(chain["late"], "good")
    with pytest.raises(UsageError, match=f"{chain['late']} has got the tag good since"):
        store.delete("flights", whole=True, with_derived=True, shown=shown)
    assert visible(store) == set(chain.values())
    assert store.tags("late") == {"good": chain["late"].partition("@")[2]}


def test_versions_that_were_deleted_since_the_dry_run_are_no_obstacle(store: Store, chain: dict[str, str]) -> None:
    shown = store.delete("flights", whole=True, with_derived=True, dry_run=True)
    store.delete(chain["late_model"])
    report = store.delete("flights", whole=True, with_derived=True, shown=shown)
    assert report.marked == [chain["late"], chain["flights"]]


def test_nothing_is_deleted_while_a_node_is_down(store: Store, cassandra: FakeCassandra, chain: dict[str, str]) -> None:
    cassandra.unreachable[cassandra.b.address] = no_host(cassandra.b, OSError("down"))
    for options in ({"with_derived": True}, {"with_derived": True, "dry_run": True}, {}):
        with pytest.raises(StoreUnavailableError, match="nothing was deleted"):
            store.delete("flights", whole=True, **options)
    cassandra.unreachable.clear()
    assert visible(store) == set(chain.values())


def test_the_index_and_the_versions_are_read_at_all_before_a_deletion(
    store: Store, cassandra: FakeCassandra, chain: dict[str, str]
) -> None:
    cassandra.reads.clear()
    with suppress(UsageError):
        store.delete("flights", whole=True)
    index = [level for query, level, _ in cassandra.reads if "ks.datasets" in query]
    assert index
    assert set(index) == {ConsistencyLevel.ALL}


def test_with_now_no_row_of_the_data_is_left(store: Store, cassandra: FakeCassandra, chain: dict[str, str]) -> None:
    store.tag(chain["late_model"], "best")
    store.delete("flights", whole=True, with_derived=True, now=True)
    for table in ("chunks", "pages", "attempts", "under_replicated"):
        assert {row["dataset"] for row in cassandra.table(table)} <= {"weather"}, table
    purged = {row["dataset"] for row in cassandra.table("versions") if row["purged_at"] is not None}
    assert purged == {"flights", "late", "late_model"}
    assert store.dataset("weather").count_rows() == 3


# --- prune


def test_prune_keeps_what_a_kept_version_needs_and_does_not_count_it(store: Store, csv: Csv, make: Make) -> None:
    flights = [f"flights@{store.load('flights', csv(k + 1)).version}" for k in range(5)]
    late = make("late", flights[1])
    assert store.prune("flights", 2, dry_run=True).marked == [flights[2], flights[0]]
    assert store.prune("flights", 2).marked == [flights[2], flights[0]]
    assert visible(store) == {flights[4], flights[3], flights[1], late}
    store.delete(late)
    assert store.prune("flights", 2).marked == [flights[1]]


def test_models_then_prepared_versions_then_inputs_are_pruned_in_one_night(store: Store, csv: Csv, make: Make) -> None:
    for night in range(6):
        flights = f"flights@{store.load('flights', csv(night + 1)).version}"
        late = make("late", flights, run=f"late-{night}")
        make("late_model", late, run=f"model-{night}")
        for name in ("late_model", "late", "flights"):
            store.prune(name, 2)
    assert [len(store.versions(name)) for name in ("flights", "late", "late_model")] == [2, 2, 2]
    require_inputs_of_visible_versions(store)


def test_a_tagged_model_keeps_its_whole_line(store: Store, csv: Csv, make: Make) -> None:
    kept = set()
    for night in range(5):
        flights = f"flights@{store.load('flights', csv(night + 1)).version}"
        late = make("late", flights, run=f"late-{night}")
        model = make("late_model", late, run=f"model-{night}")
        if night == 0:
            store.tag(model, "best")
        if night in (0, 4):
            kept |= {flights, late, model}
    for name in ("late_model", "late", "flights"):
        store.prune(name, 1)
    assert visible(store) == kept


def test_versions_of_one_dataset_that_only_pruned_ones_need_are_pruned_with_them(
    store: Store, csv: Csv, make: Make
) -> None:
    store.load("m", csv(3))
    for number in range(3):
        make("m", "m", run=f"run-{number}")
    assert store.prune("m", 1).marked == []
    store.load("other", csv(5))
    make("m", "other", run="replaced")
    assert len(store.prune("m", 1).marked) == 4


def test_a_version_that_becomes_an_input_while_it_is_pruned_stays_and_fails_nothing(
    store: Store, cassandra: FakeCassandra, csv: Csv, make: Make
) -> None:
    flights = [f"flights@{store.load('flights', csv(k + 1)).version}" for k in range(3)]
    before = visible(store)
    with at_statement(cassandra, "UPDATE ks.versions", lambda: make("late", flights[0])) as made:
        marked = store.prune("flights", 1).marked
    assert made
    assert set(marked) <= {flights[0], flights[1]}
    assert visible(store) == (before | set(made)) - set(marked)
    require_inputs_of_visible_versions(store)


# --- undelete


def test_a_version_is_not_restored_before_its_inputs_which_are_named_in_their_order(
    store: Store, chain: dict[str, str]
) -> None:
    store.delete("flights", whole=True, with_derived=True)
    for dry_run in (True, False):
        with pytest.raises(VersionNotFoundError) as refused:
            store.undelete(chain["late_model"], dry_run=dry_run)
    assert (
        f"made from {chain['flights']}, {chain['late']}, deleted too: restore them first: "
        f"millrace undelete {chain['flights']}; millrace undelete {chain['late']}"
    ) in str(refused.value)
    assert visible(store) == {chain["weather"]}
    for name in ("flights", "late", "late_model"):
        assert store.undelete(chain[name]).reference == chain[name]
    assert visible(store) == set(chain.values())


def test_a_version_whose_input_is_removed_is_not_restored(
    store: Store, cassandra: FakeCassandra, chain: dict[str, str]
) -> None:
    store.delete("flights", whole=True, with_derived=True)
    store.alive = timedelta(0)
    remove_data_of(store, cassandra, "flights")
    with pytest.raises(VersionNotFoundError, match=f"made from {chain['flights']}, which cannot be restored: its data"):
        store.undelete(chain["late_model"])
    assert visible(store) == {chain["weather"]}


def remove_data_of(store: Store, cassandra: FakeCassandra, name: str) -> None:
    """Remove the data of a deleted dataset as a sweep does whose grace time is over."""
    deletion = store._deletion
    items = deletion._sweeps.garbage(name, grace=timedelta(0))
    deletion._sweeps.remove(name, items, store.fsck(), grace=timedelta(0))
    deletion._sweeps.empty_deleted(name, grace=timedelta(0))
    assert all(row["purged_at"] is not None for row in cassandra.table("versions") if row["dataset"] == name)


def test_an_input_that_is_deleted_while_its_version_is_restored_leaves_both_consistent(
    store: Store, cassandra: FakeCassandra, chain: dict[str, str]
) -> None:
    steps = count_statements(
        cassandra, lambda: [store.delete(chain["late_model"]), store.undelete(chain["late_model"])]
    )
    for step in range(steps):
        store.delete(chain["late_model"])
        delete = quietly(lambda: store.delete(chain["late"]))
        with after_statements(cassandra, step, delete), suppress(MillraceError):
            store.undelete(chain["late_model"])
        require_inputs_of_visible_versions(store)
        with suppress(MillraceError):
            store.undelete(chain["late"])
        with suppress(MillraceError):
            store.undelete(chain["late_model"])
        assert visible(store) == set(chain.values())


# --- interrupted and concurrent


def test_a_deletion_that_is_killed_after_any_statement_leaves_no_visible_version_without_its_input(
    store: Store, cassandra: FakeCassandra, chain: dict[str, str]
) -> None:
    store.tag(chain["late_model"], "best")
    tagged = chain["late_model"].partition("@")[2]

    def delete() -> Any:
        return store.delete("flights", whole=True, with_derived=True)

    def restore() -> None:
        for name in ("flights", "late", "late_model"):
            with suppress(UsageError):  # it is not deleted
                store.undelete(chain[name])
        store.tag(chain["late_model"], "best")
        assert (visible(store), store.tags("late_model")) == (set(chain.values()), {"best": tagged})

    steps = count_statements(cassandra, delete)
    restore()
    for step in range(steps):
        with after_statements(cassandra, step, _killed), suppress(KeyboardInterrupt):
            delete()
        require_inputs_of_visible_versions(store)
        for name in ("late_model", "late", "flights"):  # a second call completes it
            if any(key.startswith(f"{name}@") for key in visible(store)):
                store.delete(name, whole=True, with_derived=True)
        assert visible(store) == {chain["weather"]}
        assert store.tags("late_model") == {}
        restore()


def _killed() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("with_derived", [False, True])
def test_a_version_published_at_any_moment_of_a_deletion_never_has_a_deleted_input(
    store: Store, cassandra: FakeCassandra, chain: dict[str, str], make: Make, with_derived: bool
) -> None:
    name = "late" if with_derived else "late_model"
    steps = count_statements(cassandra, lambda: store.delete(name, whole=True, with_derived=with_derived))
    outcomes = set()
    for step in range(steps):
        restore_all(store, chain)
        made: list[str] = []
        publish = quietly(lambda step=step, made=made: made.append(make("new", name, run=f"run-{step}")))
        deleted = True
        with after_statements(cassandra, step, publish):
            try:
                store.delete(name, whole=True, with_derived=with_derived)
            except UsageError:
                deleted = False
        require_inputs_of_visible_versions(store)
        outcomes.add((deleted, bool(made)))
        for reference in made:
            with suppress(MillraceError):
                store.delete(reference)
    assert (True, False) in outcomes
    assert (False, True) in outcomes


def test_a_version_published_at_the_last_moment_keeps_its_whole_line_and_the_tags(
    store: Store, cassandra: FakeCassandra, chain: dict[str, str], make: Make
) -> None:
    for name in ("late_model", "late", "flights"):
        store.tag(chain[name], "good")
    other = make("other", "flights")
    publish = partial(make, "new", "late_model")
    with at_statement(cassandra, "UPDATE ks.tags", publish) as made, pytest.raises(UsageError) as refused:
        store.delete("flights", whole=True, with_derived=True)
    assert f"{chain['late_model']}, {chain['late']}, {chain['flights']} stayed" in str(refused.value)
    assert visible(store) == {*chain.values(), *made}
    assert other not in visible(store)
    for name in ("late_model", "late", "flights"):
        assert store.tags(name) == {"good": chain[name].partition("@")[2]}
    assert len([row for row in cassandra.table("versions") if row["mark"]]) == 2  # other, and late_model again visible


def restore_all(store: Store, chain: dict[str, str]) -> None:
    for reference in (chain["flights"], chain["weather"], chain["late"], chain["late_model"]):
        with suppress(UsageError):
            store.undelete(reference)
    assert set(chain.values()) <= visible(store)


def test_an_input_that_is_deleted_at_any_moment_of_a_publication_is_never_one_of_a_visible_version(
    store: Store, cassandra: FakeCassandra, csv: Csv, make: Make
) -> None:
    flights = f"flights@{store.load('flights', csv(3)).version}"
    steps = count_statements(cassandra, lambda: make("late", flights, run="first"))
    store.delete("late", whole=True)
    outcomes = set()
    for step in range(steps):
        deleted: list[Any] = []
        delete = quietly(lambda deleted=deleted: deleted.append(store.delete(flights)))
        made = True
        with after_statements(cassandra, step, delete):
            try:
                make("late", flights, run=f"run-{step}")
            except MillraceError:
                made = False
        require_inputs_of_visible_versions(store)
        outcomes.add((bool(deleted), made))
        for version in store.catalogue.versions("late"):
            store.delete(version.reference)
        with suppress(UsageError):
            store.undelete(flights)
        assert visible(store) == {flights}
    assert {(True, False), (False, True)} <= outcomes


def test_a_mark_that_was_left_behind_does_not_remove_the_data_of_an_input(
    store: Store, cassandra: FakeCassandra, chain: dict[str, str]
) -> None:
    """A deletion may be killed between its mark and its second look at the versions that were made from it."""
    store._deletion._replicas.write_mark(
        store.version(chain["late"]), DELETED, store.version(chain["late"]).committed_at
    )
    report = store.fsck(delete=True, now=True)
    assert (report.removed_attempts, report.problems) == (0, [])
    assert store.undelete(chain["late"]).reference == chain["late"]
    assert store.dataset("late").count_rows() == 3


def test_a_row_of_a_derived_version_on_one_node_only_keeps_its_input(
    store: Store, cassandra: FakeCassandra, chain: dict[str, str]
) -> None:
    for table in ("versions", "datasets"):
        rows = cassandra.b.rows[table]
        for key in [key for key, (_, row) in rows.items() if row["dataset"].startswith("late")]:
            del rows[key]
    with pytest.raises(UsageError, match="is not deleted"):
        store.delete("flights", whole=True)


def test_references_are_named_with_the_number_of_the_others(store: Store, chain: dict[str, str]) -> None:
    version = store.version(chain["late"])
    versions = [replace(version, number=number) for number in range(1, 6)]
    assert named(versions[:2]) == ", ".join(v.reference for v in versions[:2])
    assert named(versions[:4]).endswith(" and 1 other")
    assert named(versions).endswith(" and 2 others")


# --- statements of the in-memory cluster


def quietly(action: Callable[[], Any]) -> Callable[[], None]:
    """Return the action without its errors: its caller looks at what it has changed."""

    def run() -> None:
        with suppress(MillraceError):
            action()

    return run


def count_statements(cassandra: FakeCassandra, action: Callable[[], Any]) -> int:
    """Return the number of statements that the action executes."""
    before = len(cassandra.reads)
    action()
    return len(cassandra.reads) - before


@contextmanager
def after_statements(cassandra: FakeCassandra, count: int, action: Callable[[], Any]) -> Iterator[None]:
    """Do something once within the block, after the given number of statements."""
    execute, left = cassandra.session.execute, [count]

    def counted(*args: Any, **options: Any) -> Any:
        rows = execute(*args, **options)
        left[0] -= 1
        if left[0] == -1:
            cassandra.session.execute = execute
            action()
        return rows

    cassandra.session.execute = counted
    try:
        yield
    finally:
        cassandra.session.execute = execute


@contextmanager
def at_statement(cassandra: FakeCassandra, start: str, action: Callable[[], str]) -> Iterator[list[str]]:
    """Do something once within the block, before the first statement that starts so; yield its results."""
    execute, results = cassandra.session.execute, list[str]()

    def watched(statement: Any, *args: Any, **options: Any) -> Any:
        if statement.prepared_statement.query_string.startswith(start):
            cassandra.session.execute = execute
            results.append(action())
        return execute(statement, *args, **options)

    cassandra.session.execute = watched
    try:
        yield results
    finally:
        cassandra.session.execute = execute
