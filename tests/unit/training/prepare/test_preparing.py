"""A preparation makes one immutable version with splits and a recipe, or nothing at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from millrace.api import Store
from millrace.errors import ExpectationError, MillraceError, StoreError, StoreTimeoutError, UsageError
from millrace.load import LoadPlan, LoadReport
from millrace.load.publish_protocol import Published
from millrace.load.version_row import VersionRowWriter
from millrace.progress import null_task
from millrace.store import VersionGraph
from millrace.training.prepare import Expectations, Preparation, PreparedData, PreparePlan, make_prepare_plan
from tests.dags.trained import categories_of
from tests.unit.training.prepare.trips import QUERY, late_trips, trips


def prepare(
    store: Store, preparation: Preparation | None = None, *, run: str = "run", force: bool = False
) -> LoadReport:
    """Prepare as the tasks of Airflow do: plan, write and publish, with JSON between them."""
    made = make_prepare_plan(store.catalogue, preparation or late_trips(), run=run, force=force)
    plan = PreparePlan.from_json(made.to_json())
    if plan.is_done:
        return store.prepared_before(plan)
    data = store.write_preparation(plan, task=null_task())
    return store.publish_preparation(plan, PreparedData.from_json(data.to_json()))


def rows_of(store: Store, reference: str) -> list[dict[str, Any]]:
    """Return the rows of a version, in stored order."""
    rows: list[dict[str, Any]] = store.dataset(reference).to_table().to_pylist()
    return rows


def splits_of_keys(store: Store, reference: str) -> dict[int, str]:
    """Return the split of each key."""
    dataset = store.dataset(reference)
    recipe = dataset.recipe
    assert recipe is not None
    return {
        row["id"]: split for split in recipe.splits for row in dataset.to_table(columns=["id"], split=split).to_pylist()
    }


def planned(store: Store, run: str, *cities: str) -> tuple[PreparePlan, PreparedData]:
    """Load trips of some cities, and write the rows of their preparation."""
    store.load("trips", trips(600, cities=("Bern", *cities)))
    plan = make_prepare_plan(store.catalogue, late_trips(), run=run)
    return plan, store.write_preparation(plan)


def test_a_preparation_makes_a_version_with_splits_a_recipe_and_its_inputs(loaded: Store) -> None:
    report = prepare(loaded)
    version = loaded.version("late_trips")
    recipe = loaded.dataset("late_trips").recipe
    assert recipe is not None
    assert (report.state, report.rows, report.version) == ("succeeded", version.rows, version.label)
    assert version.settings["inputs"] == {
        "trips": loaded.version("trips").reference,
        "weather": loaded.version("weather").reference,
    }
    assert recipe.rows_in == 600
    assert recipe.dropped["no target"] == 12
    assert sum(figures["rows"] for figures in recipe.splits.values()) == version.rows == 588
    assert recipe.categories == {"city": ("Aachen", "Bern", "Cork")}
    assert list(report.stages) == ["fetch", "query", "join", "write", "publish"]
    assert report.training is not None
    assert report.training["rows_in"] == 600


def test_the_stored_rows_have_the_weather_that_was_known_and_the_target(loaded: Store) -> None:
    prepare(loaded)
    weather = {(row["city"], row["hour"]): row["temp"] for row in loaded.dataset("weather").to_table().to_pylist()}
    late = {row["id"]: row for row in loaded.dataset("trips").to_table().to_pylist()}
    cities = loaded.dataset("late_trips").recipe.categories["city"]  # type: ignore[union-attr]
    for row in rows_of(loaded, "late_trips"):
        trip = late[row["id"]]
        known = trip["start"].replace(minute=0) - timedelta(hours=1)
        assert row["target"] == (trip["delay"] > 15)
        assert cities[row["city"] - 1] == trip["city"]
        assert row["temp"] == weather.get((trip["city"], known))


def test_the_same_inputs_and_declaration_make_no_second_version(loaded: Store) -> None:
    prepare(loaded)
    again = prepare(loaded, run="other")
    assert (again.skipped, again.rows) == ("unchanged", 0)
    assert len(loaded.versions("late_trips")) == 1
    forced = prepare(loaded, run="third", force=True)
    assert not forced.skipped
    assert rows_of(loaded, "late_trips@1") == rows_of(loaded, "late_trips@2")


def test_the_same_run_is_the_same_version(loaded: Store) -> None:
    first = prepare(loaded)
    again = prepare(loaded)
    assert (again.version, again.skipped) == (first.version, "")
    assert len(loaded.versions("late_trips")) == 1


def test_appended_rows_change_no_split_and_no_code(loaded: Store) -> None:
    prepare(loaded)
    before, codes = splits_of_keys(loaded, "late_trips"), loaded.dataset("late_trips").recipe
    loaded.load("trips", trips(900, cities=("Zug", "Aachen", "Bern", "Cork")))
    report = prepare(loaded, run="second")
    after, recipe = splits_of_keys(loaded, "late_trips"), loaded.dataset("late_trips").recipe
    assert codes is not None
    assert recipe is not None
    assert {key: after[key] for key in before if key in after} == {key: before[key] for key in before if key in after}
    assert recipe.categories["city"] == ("Aachen", "Bern", "Cork", "Zug")
    assert report.training is not None
    assert report.training["changes"]["rows"] == [588, sum(f["rows"] for f in recipe.splits.values())]


def test_codes_are_those_of_a_deleted_version_because_it_may_be_restored(loaded: Store) -> None:
    prepare(loaded)
    loaded.load("trips", trips(600, cities=("Zug", "Aachen", "Bern", "Cork")))
    prepare(loaded, run="second")
    loaded.delete("late_trips@2")
    loaded.load("trips", trips(600, cities=("Ulm", "Aachen", "Bern", "Cork")))
    prepare(loaded, run="third")
    recipe = loaded.dataset("late_trips@3").recipe
    assert recipe is not None
    assert recipe.categories["city"] == ("Aachen", "Bern", "Cork", "Zug", "Ulm")


def test_a_limit_that_is_exceeded_leaves_no_version(loaded: Store) -> None:
    expect = Expectations(rows_min=10_000, dropped_max_percent=1.0, target_share=(0.9, 1.0))
    with pytest.raises(ExpectationError, match=r"late_trips is not as expected: .*10,000.*;.*;"):
        prepare(loaded, late_trips(expect=expect))
    assert loaded.catalogue.versions("late_trips") == []


def test_limits_are_checked_against_an_unchanged_version(loaded: Store) -> None:
    prepare(loaded)
    with pytest.raises(ExpectationError, match="rows"):
        prepare(loaded, late_trips(expect=Expectations(rows_min=10_000)), run="other")


@pytest.mark.parametrize("step", ["write", "publish"])
def test_a_failed_attempt_leaves_no_version_and_no_file_and_the_next_one_makes_the_same_rows(
    loaded: Store, step: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    training = loaded.settings.training.model_copy(update={"scratch": str(tmp_path / "scratch")})
    loaded.settings = loaded.settings.model_copy(update={"training": training})
    failing = {
        "write": ("millrace.training.prepare.writing.make_recipe", StoreError("broken")),
        "publish": ("millrace.training.prepare.publishing.publish", StoreError("broken")),
    }[step]

    def fail(*_args: object, **_options: object) -> None:
        raise failing[1]

    with monkeypatch.context() as broken:
        broken.setattr(failing[0], fail)
        with pytest.raises(StoreError, match="broken"):
            prepare(loaded)
    assert loaded.catalogue.versions("late_trips") == []
    assert [path for path in (tmp_path / "scratch").rglob("*") if path.is_dir()] == []
    prepare(loaded)
    prepare(loaded, late_trips(name="other"))
    assert rows_of(loaded, "late_trips") == rows_of(loaded, "other")


def test_one_and_two_threads_make_the_same_rows_and_recipe(loaded: Store) -> None:
    recipes = []
    for threads in (1, 2):
        training = loaded.settings.training.model_copy(update={"threads": threads})
        loaded.settings = loaded.settings.model_copy(update={"training": training})
        prepare(loaded, late_trips(name=f"late_{threads}"))
        recipe = loaded.dataset(f"late_{threads}").recipe
        assert recipe is not None
        recipes.append(replace(recipe, entry={}))
    assert recipes[0] == recipes[1]
    assert rows_of(loaded, "late_1") == rows_of(loaded, "late_2")


def test_a_load_into_a_prepared_dataset_is_refused(loaded: Store) -> None:
    prepare(loaded)
    with pytest.raises(UsageError, match=r"late_trips@1-\w+ was made from trips@1-\w+, weather@1-\w+"):
        loaded.load("late_trips", trips(3))


def test_a_preparation_fetches_only_the_tiles_of_used_columns(loaded: Store) -> None:
    plan = make_prepare_plan(loaded.catalogue, late_trips(), run="run")
    shown = loaded.preview_preparation(plan)
    used = {cost.alias: set(cost.columns) for cost in shown.inputs}
    assert used == {"trips": {"id", "city", "start", "distance", "delay"}, "weather": {"city", "hour", "temp"}}
    wide = trips(600).append_column("unused", pa.array(range(600)))
    loaded.load("trips", wide)
    cost = loaded.preview_preparation(make_prepare_plan(loaded.catalogue, late_trips(), run="run")).inputs[0]
    assert "unused" not in cost.columns
    assert (cost.chunks, cost.tiles, cost.tiles_of_all) == (1, 5, 6)


def test_a_preview_has_the_columns_and_the_first_rows_of_the_result(loaded: Store) -> None:
    plan = make_prepare_plan(loaded.catalogue, late_trips(), run="run")
    shown = loaded.preview_preparation(plan, head=3)
    assert [name for name, _ in shown.columns] == ["id", "city", "distance", "temp", "weather_known_at"]
    assert shown.head is not None
    assert shown.head.num_rows == 3
    assert not shown.sampled
    assert loaded.catalogue.versions("late_trips") == []


def bad(**changes: Any) -> Callable[[Store], LoadReport]:
    return lambda store: prepare(store, late_trips(**changes))


@pytest.mark.parametrize(
    ("attempt", "message"),
    [
        (bad(query="SELECT id, distance FROM trip", known={}, inputs={"trips": "trips"}), "trip"),
        (bad(key=("ident",)), "ident"),
        (bad(query="SELECT id FROM trips t WHERE"), "line 1"),
        (bad(query=late_trips().query + "WHERE t.id < 0"), "no row"),
        (bad(target="delay >= 0"), "class"),
        (bad(known={"weather": "temp_known_at"}), "temp_known_at"),
        (bad(query=late_trips().query.replace("t.distance", "t.delay")), "delay"),
        (bad(at="start - INTERVAL 2 HOUR"), "weather"),
        (bad(features=("distanc",)), "distanc"),
        (bad(categories=("town",)), "town"),
        (bad(nulls={"tmp": "mean"}), "tmp"),
    ],
)
def test_bad_input_is_one_clear_line_and_leaves_nothing(
    loaded: Store, attempt: Callable[[Store], LoadReport], message: str
) -> None:
    with pytest.raises(MillraceError) as refused:
        attempt(loaded)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)
    assert loaded.catalogue.versions("late_trips") == []


def test_a_chunk_belongs_to_one_split_and_decodes_to_at_most_8_mb(loaded: Store) -> None:
    loaded.load("trips", trips(200_000))
    columns = ", ".join(f"sin(id * {number}) AS f{number}" for number in range(1, 13))
    query = f"SELECT id, {columns} FROM trips"
    changes = {"query": query, "inputs": {"trips": "trips"}, "known": {}, "categories": (), "nulls": {}}
    prepare(loaded, late_trips(**changes, features=None))
    dataset = loaded.dataset("late_trips")
    recipe, refs = dataset.recipe, list(dataset.refs())
    assert recipe is not None
    for split, chunks in dataset.splits.items():
        assert sum(refs[chunk].rows for chunk in chunks) == recipe.splits[split]["rows"]
        sizes = [refs[chunk].raw_bytes for chunk in chunks]
        assert all(4_000_000 <= size <= 8_000_000 for size in sizes[:-1])
        assert sizes[-1] <= 8_000_000
    assert len(refs) > len(dataset.splits)


def test_a_column_that_is_a_category_again_has_its_old_codes(loaded: Store) -> None:
    prepare(loaded, run="first")
    without = late_trips(query=QUERY.replace("t.city, ", ""), categories=(), features=("distance", "temp"))
    prepare(loaded, without, run="second")
    loaded.load("trips", trips(600, cities=("Aa", "Bern", "Aachen")))
    prepare(loaded, run="third")
    assert categories_of(loaded, "late_trips")["city"] == ("Aachen", "Bern", "Cork", "Aa")


def test_a_version_published_meanwhile_whose_codes_differ_refuses_the_publication(loaded: Store) -> None:
    prepare(loaded, run="before")
    one, two = planned(loaded, "one", "Xanten"), planned(loaded, "two", "York")
    first = loaded.publish_preparation(*one)
    with pytest.raises(StoreError, match=f"{first.reference} was published meanwhile.* values of 'city'"):
        loaded.publish_preparation(*two)
    assert loaded.version("late_trips").label == first.version
    assert loaded.publish_preparation(*one).version == first.version
    prepare(loaded, run="two")
    assert categories_of(loaded, "late_trips")["city"] == ("Aachen", "Bern", "Cork", "Xanten", "York")


def test_data_that_was_loaded_under_the_name_meanwhile_stays_the_latest(loaded: Store) -> None:
    plan = make_prepare_plan(loaded.catalogue, late_trips(), run="run")
    data = loaded.write_preparation(plan)
    rows = loaded.load("late_trips", trips(5))
    with pytest.raises(UsageError, match="late_trips cannot be the name of prepared data"):
        loaded.publish_preparation(plan, data)
    assert loaded.version("late_trips").label == rows.version


@pytest.fixture
def before_the_row(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Return a function that makes another publication happen between the first check of one and its row."""

    def set_other(other: Callable[[], object]) -> None:
        write, waiting = VersionRowWriter.write, [other]

        def after_the_other(self: VersionRowWriter, plan: LoadPlan) -> Published:
            if waiting:
                waiting.pop()()
            return write(self, plan)

        monkeypatch.setattr(VersionRowWriter, "write", after_the_other)

    return set_other


@pytest.mark.parametrize("last", [0, 1])
def test_of_two_preparations_that_publish_at_once_no_code_denotes_two_values(
    loaded: Store, before_the_row: Callable[[Callable[[], object]], None], last: int
) -> None:
    prepare(loaded, run="before")
    written = [planned(loaded, "one", "Xanten"), planned(loaded, "two", "York")]
    first = 1 - last
    before_the_row(lambda: loaded.publish_preparation(*written[first]))
    with pytest.raises(StoreError, match=r"was published meanwhile.* values of 'city'"):
        loaded.publish_preparation(*written[last])
    assert [version.hex for version in loaded.versions("late_trips")][:1] == [written[first][0].hex]
    assert len(loaded.versions("late_trips")) == 2
    loaded.load("trips", trips(600, cities=("Bern", "Xanten", "York")))
    prepare(loaded, run="three")
    cities = ("Xanten", "York") if first == 0 else ("York", "Xanten")
    assert categories_of(loaded, "late_trips")["city"] == ("Aachen", "Bern", "Cork", *cities)


def test_the_codes_of_each_version_published_since_the_plan_count(loaded: Store) -> None:
    prepare(loaded, run="before")
    york, xanten, none = (planned(loaded, *given) for given in (("a", "York"), ("b", "Xanten"), ("c",)))
    for plan, data in (xanten, none):
        loaded.publish_preparation(plan, data)
    with pytest.raises(StoreError, match=f"late_trips@2-{xanten[0].hex} was published meanwhile"):
        loaded.publish_preparation(*york)


def test_the_codes_of_each_earlier_version_are_kept(loaded: Store) -> None:
    prepare(loaded, run="before")
    for plan, data in [planned(loaded, "b", "Xanten"), planned(loaded, "c")]:
        loaded.publish_preparation(plan, data)
    assert categories_of(loaded, "late_trips")["city"] == ("Aachen", "Bern", "Cork")
    loaded.publish_preparation(*planned(loaded, "d", "York"))
    assert categories_of(loaded, "late_trips")["city"] == ("Aachen", "Bern", "Cork", "Xanten", "York")


def test_codes_count_although_the_newest_version_lacks_the_column(loaded: Store) -> None:
    prepare(loaded, run="before")
    york, xanten = planned(loaded, "a", "York"), planned(loaded, "b", "Xanten")
    loaded.publish_preparation(*xanten)
    without = late_trips(query=QUERY.replace("t.city, ", ""), categories=(), features=("distance", "temp"))
    prepare(loaded, without, run="c")
    with pytest.raises(StoreError, match=f"late_trips@2-{xanten[0].hex} was published meanwhile"):
        loaded.publish_preparation(*york)


def test_an_error_of_a_read_after_the_row_is_written_withdraws_nothing(
    loaded: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(loaded, run="before")
    published = planned(loaded, "a", "York")
    checks: list[VersionGraph] = []

    def fails_once(_: object, __: object, ___: object, others: VersionGraph) -> None:
        checks.append(others)
        if len(checks) == 2:
            raise StoreTimeoutError("no response", hint="")

    monkeypatch.setattr("millrace.training.prepare.publishing.check_codes", fails_once)
    with pytest.raises(StoreTimeoutError):
        loaded.publish_preparation(*published)
    assert loaded.publish_preparation(*published).version == loaded.version("late_trips").label


@pytest.mark.parametrize("at_once", [False, True])
def test_a_load_that_was_planned_before_a_preparation_does_not_replace_it(
    loaded: Store, before_the_row: Callable[[Callable[[], object]], None], tmp_path: Path, at_once: bool
) -> None:
    (tmp_path / "trips.csv").write_text("id,delay\n1,5\n")
    plan = loaded.plan("late_trips", str(tmp_path / "trips.csv"))
    result = loaded.load_split(plan, 0)
    if at_once:
        before_the_row(lambda: prepare(loaded))
    else:
        prepare(loaded)
    with pytest.raises(UsageError, match=r"late_trips@\S+ was made from .*, so nothing is loaded into late_trips"):
        loaded.publish(plan, [result])
    assert len(loaded.versions("late_trips")) == 1
    assert loaded.dataset("late_trips").recipe is not None


def test_a_preparation_beside_a_load_under_its_name_is_refused_and_leaves_no_version(
    loaded: Store, before_the_row: Callable[[Callable[[], object]], None]
) -> None:
    plan = make_prepare_plan(loaded.catalogue, late_trips(), run="run")
    data = loaded.write_preparation(plan)
    before_the_row(lambda: loaded.load("late_trips", trips(5)))
    with pytest.raises(UsageError, match="late_trips cannot be the name of prepared data"):
        loaded.publish_preparation(plan, data)
    assert [version.rows for version in loaded.versions("late_trips")] == [5]
