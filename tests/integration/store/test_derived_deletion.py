"""Deletion of inputs and of everything that was made from them, on the real services and checked by keys."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from redis import Redis

from millrace.api import Store
from millrace.errors import MillraceError, UsageError, VersionNotFoundError
from millrace.load import LoadOptions
from millrace.store.deletion.all_replicas import AllReplicas
from millrace.store.deletion.marking import Marking
from tests.derived import derived_plan, made_from
from tests.waiting import until

Names = dict[str, str]


@pytest.fixture
def alive(store: Store) -> Iterator[None]:
    """Let finished loads delay no sweep."""
    before, store.alive = store.alive, timedelta(0)
    yield
    store.alive = before


@pytest.fixture
def chain(store: Store, tmp_path: Path, alive: None) -> Names:
    """Make flights and weather, late from both, another from flights, and a model from late, in names of their own."""
    suffix = uuid4().hex[:8]
    names = {name: f"{name}_{suffix}" for name in ("flights", "weather", "late", "other", "model")}
    made = {name: load(store, names[name], tmp_path, 1000) for name in ("flights", "weather")}
    made["late"] = made_from(store, names["late"], tmp_path, made["flights"], made["weather"], rows=500)
    made["other"] = made_from(store, names["other"], tmp_path, made["flights"])
    made["model"] = made_from(store, names["model"], tmp_path, made["late"], made["other"])
    return made


def load(store: Store, name: str, folder: Path, rows: int) -> str:
    path = folder / f"{name}.csv"
    path.write_text("n\n" + "".join(f"{n}\n" for n in range(rows)))
    return f"{name}@{store.load(name, str(path), LoadOptions(chunk_bytes=65_536)).version}"


def name_of(reference: str) -> str:
    return reference.partition("@")[0]


def visible(store: Store, made: Names) -> set[str]:
    return {version.reference for key in made.values() for version in store.catalogue.versions(name_of(key))}


def rows_of(store: Store, table: str, dataset: str) -> list[Any]:
    """Return the rows of a table of a dataset; only small tables are read whole."""
    keyspace = store.settings.cassandra.keyspace
    columns = "dataset, purged_at" if table == "versions" else "dataset"
    rows = store.cassandra.session.execute(f"SELECT {columns} FROM {keyspace}.{table} ALLOW FILTERING")
    return [row for row in rows if row.dataset == dataset]


def partitions_of_chunks(store: Store, reference: str) -> list[tuple[Any, ...]]:
    return list({(ref.dataset, ref.attempt_id, ref.bucket) for ref in store.dataset(reference).refs()})


def chunks_in(store: Store, partitions: list[tuple[Any, ...]]) -> int:
    query = "SELECT chunk FROM {ks}.chunks WHERE dataset = ? AND attempt_id = ? AND bucket = ?"
    return sum(len(store.cassandra.execute(store.cassandra.prepare(query).bind(key))) for key in partitions)


def test_an_input_is_refused_and_with_everything_derived_nothing_of_it_is_left(store: Store, chain: Names) -> None:
    redis = Redis.from_url(store.settings.redis.url.get_secret_value())
    partitions: dict[str, list[tuple[Any, ...]]] = {}
    for key in chain.values():
        assert store.warm(key).complete
        partitions[key] = partitions_of_chunks(store, key)
    store.tag(chain["model"], "best")
    names = {name: name_of(key) for name, key in chain.items()}
    assert all(redis.keys(f"*{name}*") for name in names.values())
    with pytest.raises(UsageError, match=f"{chain['late']}, {chain['other']}, {chain['model']} were made from it"):
        store.delete(chain["flights"])

    shown = store.delete(names["flights"], whole=True, with_derived=True, dry_run=True)
    report = store.delete(names["flights"], whole=True, with_derived=True, now=True, shown=shown)
    assert report.marked == shown.marked
    assert (report.marked[0], report.marked[-1]) == (chain["model"], chain["flights"])
    assert set(report.marked) == set(chain.values()) - {chain["weather"]}
    assert (report.tags, report.problems, report.still_cached) == ({chain["model"]: ["best"]}, [], "")
    assert visible(store, chain) == {chain["weather"]}
    for name in ("flights", "late", "other", "model"):
        assert redis.keys(f"*{names[name]}*") == [], name
        assert chunks_in(store, partitions[chain[name]]) == 0
        for table in ("pages", "attempts", "under_replicated", "leases"):
            assert rows_of(store, table, names[name]) == [], (table, name)
        assert all(row.purged_at is not None for row in rows_of(store, "versions", names[name]))
        assert store.tags(names[name]) == {}
    assert redis.keys(f"*{names['weather']}*")
    assert store.verify(chain["weather"], each_replica=True).ok
    assert store.cache is not None
    store.cache.evict(names["weather"])
    redis.close()


def test_a_deleted_chain_is_restored_from_its_inputs_on(store: Store, chain: Names) -> None:
    store.delete(chain["flights"], with_derived=True)
    with pytest.raises(VersionNotFoundError) as refused:
        store.undelete(chain["model"])
    order = [str(refused.value).index(f"millrace undelete {chain[name]}") for name in ("flights", "late", "other")]
    assert order == sorted(order)
    for name in ("flights", "late", "other", "model"):
        store.undelete(chain[name])
    assert visible(store, chain) == set(chain.values())
    assert store.dataset(chain["late"]).count_rows() == 500
    assert store.verify(chain["model"], each_replica=True).ok


def test_a_version_whose_input_is_removed_stays_deleted(store: Store, chain: Names, alive: None) -> None:
    store.delete(chain["model"])
    store.delete(chain["late"], now=True)
    with pytest.raises(VersionNotFoundError, match=f"{chain['late']}, which cannot be restored: its data was removed"):
        store.undelete(chain["model"])


def test_a_reader_of_the_model_refuses_all_and_marks_nothing(store: Store, chain: Names) -> None:
    store.tag(chain["late"], "good")
    with store.dataset(chain["model"]).training(global_batch_rows=2, lanes=2) as loader:
        next(iter(loader))
        with pytest.raises(UsageError, match=f"{chain['model']} is being read"):
            store.delete(chain["flights"], with_derived=True)
        assert visible(store, chain) == set(chain.values())
        assert store.tags(name_of(chain["late"])) == {"good": chain["late"].partition("@")[2]}
    until(lambda: is_deleted(store, chain["flights"]), "the end of the lease")
    assert visible(store, chain) == {chain["weather"]}


def is_deleted(store: Store, reference: str) -> bool:
    with suppress(UsageError):
        store.delete(reference, with_derived=True)
        return True
    return False


def test_a_tag_that_a_user_moves_while_it_is_removed_stays_moved(
    store: Store, chain: Names, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.tag(chain["late"], "good")
    later = made_from(store, name_of(chain["late"]), tmp_path, chain["weather"], run="later")
    executing = AllReplicas.execute
    moved: list[str] = []

    def execute(replicas: AllReplicas, query: str, values: tuple[Any, ...]) -> None:
        if ".tags USING" in query and not moved:
            moved.append(later)
            store.tag(later, "good")
        executing(replicas, query, values)

    monkeypatch.setattr(AllReplicas, "execute", execute)
    store.delete(chain["late"], with_derived=True)
    assert moved
    assert store.tags(name_of(later)) == {"good": later.partition("@")[2]}
    assert later in visible(store, chain)


def test_of_a_deletion_and_a_publication_at_once_no_visible_version_is_left_without_its_input(
    store: Store, chain: Names, tmp_path: Path
) -> None:
    """Both run in threads of their own, which begin at once, again and again."""
    outcomes: set[tuple[bool, bool]] = set()
    for number in range(12):
        weather = load(store, name_of(chain["weather"]), tmp_path, 10 + number)
        plan = derived_plan(
            store, name_of(chain["other"]), str(tmp_path / f"{name_of(weather)}.csv"), run=f"race-{number}"
        )
        result = store.load_split(plan, None)
        deleted, made = run_at_once(
            lambda weather=weather: store.delete(weather),
            lambda plan=plan, result=result, weather=weather: store.publish(
                plan, [result], settings={"inputs": {"data": weather}}
            ),
        )
        outcomes.add((deleted, made))
        seen = visible(store, chain)
        assert (weather in seen) == (not deleted)
        for key in seen:
            assert set(store.version(key).inputs.values()) <= seen
    assert outcomes <= {(True, False), (False, True), (False, False)}


def run_at_once(*actions: Callable[[], Any]) -> list[bool]:
    """Run the actions in threads at once; return whether each succeeded without an error of Millrace."""
    barrier, succeeded = threading.Barrier(len(actions)), [False] * len(actions)

    def run(index: int) -> None:
        barrier.wait(10)
        with suppress(MillraceError):
            actions[index]()
            succeeded[index] = True

    threads = [threading.Thread(target=run, args=(index,)) for index in range(len(actions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    return succeeded


def test_a_version_published_between_check_and_mark_keeps_its_input_and_the_tags(
    store: Store, chain: Names, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.tag(chain["model"], "best")
    marking, made = Marking.mark, list[str]()

    def mark(self: Marking, *args: Any, **options: Any) -> Any:
        made.append(made_from(store, name_of(chain["other"]), tmp_path, chain["model"], run="late"))
        return marking(self, *args, **options)

    monkeypatch.setattr(Marking, "mark", mark)
    with pytest.raises(UsageError, match=f"{chain['model']} stayed, because a version made from it was published"):
        store.delete(chain["model"], with_derived=True)
    assert visible(store, chain) >= {chain["model"], *made}
    assert store.tags(name_of(chain["model"])) == {"best": chain["model"].partition("@")[2]}
