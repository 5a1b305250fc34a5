"""Plans, splits and publishing, on an in-memory cluster."""

from __future__ import annotations

import json
import re
import threading
import zlib
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from cassandra import ConsistencyLevel, Unavailable

from millrace.api import Store
from millrace.errors import (
    ChunkMissingError,
    DatasetNotFoundError,
    InvalidNameError,
    InvalidSettingError,
    SourceNotFoundError,
    SourceTypeError,
    StoreError,
)
from millrace.load import LoadOptions, LoadPlan, SplitResult
from millrace.settings import Settings
from millrace.sources import SourceOptions
from millrace.store.catalogue.attempt import MetadataBucket
from millrace.store.catalogue.version import Version
from millrace.store.cluster.driver import TWO
from tests.unit.store.fakes import Attempt, FakeCassandra

Csv = Callable[..., str]
SMALL_SPLITS = LoadOptions(source=SourceOptions(split_bytes=2_000))


def numbers(store: Store, reference: str) -> list[int]:
    return [int(n) for n in store.dataset(reference).to_table()["n"].to_pylist()]


def test_loaded_rows_are_read_back_and_reported(store: Store, csv: Csv) -> None:
    report = store.load("flights", csv(1000))
    table = store.dataset("flights").to_table()
    assert table["n"].to_pylist() == list(range(1000))
    assert table["text"].to_pylist() == [f"text {n}" for n in range(1000)]
    assert (report.rows, report.total_rows, report.replicas, report.under_replicated) == (1000, 1000, 2, 0)
    assert report.version.startswith("1-")
    assert report.parent is None


def test_nothing_is_visible_before_the_publish(store: Store, csv: Csv) -> None:
    plan = store.plan("flights", csv(1000), SMALL_SPLITS)
    assert len(plan.source.splits) > 1
    results = [store.load_split(plan, index) for index in range(len(plan.source.splits))]
    assert store.datasets() == []
    with pytest.raises(DatasetNotFoundError):
        store.version("flights")
    store.publish(plan, results)
    assert numbers(store, "flights") == list(range(1000))


def test_splits_loaded_in_any_order_give_the_rows_in_source_order(store: Store, csv: Csv) -> None:
    plan = store.plan("flights", csv(1000), SMALL_SPLITS)
    results = [store.load_split(plan, index) for index in reversed(range(len(plan.source.splits)))]
    report = store.publish(plan, results)
    assert numbers(store, "flights") == list(range(1000))
    assert report.splits == len(results)


def test_plans_and_split_results_survive_json(store: Store, csv: Csv) -> None:
    plan = LoadPlan.from_json(json.loads(json.dumps(store.plan("flights", csv(500), SMALL_SPLITS).to_json())))
    results = [
        SplitResult.from_json(json.loads(json.dumps(store.load_split(plan, index).to_json())))
        for index in range(len(plan.source.splits))
    ]
    store.publish(plan, results)
    assert numbers(store, "flights") == list(range(500))


@pytest.mark.parametrize("broken", ["one is missing", "one is there twice", "none", "the whole and a part"])
def test_a_publish_without_each_split_exactly_once_is_refused(store: Store, csv: Csv, broken: str) -> None:
    plan = store.plan("flights", csv(1000), SMALL_SPLITS)
    results = [store.load_split(plan, index) for index in range(len(plan.source.splits))]
    given: dict[str, list[SplitResult]] = {
        "one is missing": results[:-1],
        "one is there twice": [*results, results[0]],
        "none": [],
        "the whole and a part": [replace(results[0], split=-1), *results[1:]],
    }
    with pytest.raises(StoreError, match="the results are of splits"):
        store.publish(plan, given[broken])
    assert store.datasets() == []


def test_a_missing_page_of_a_split_is_refused_at_publish(store: Store, cassandra: FakeCassandra, csv: Csv) -> None:
    plan = store.plan("flights", csv(100))
    result = store.load_split(plan, None)
    for host in (cassandra.a, cassandra.b):
        host.rows["pages"].clear()
    with pytest.raises(
        ChunkMissingError, match=r"split -1 of flights wrote \d+ chunks with 100 rows, .* have 0 chunks with 0 rows"
    ) as caught:
        store.publish(plan, [result])
    assert caught.value.retriable
    assert store.datasets() == []


def test_the_same_run_with_the_same_plan_is_one_version_and_writes_nothing_twice(
    store: Store, cassandra: FakeCassandra, csv: Csv
) -> None:
    source = csv(100)
    first = store.load("flights", source, run="night-1")
    written = len(cassandra.writes())
    again = store.load("flights", source, run="night-1")
    assert again.version == first.version
    assert (again.rows, again.chunks, again.stored_bytes) == (first.rows, first.chunks, first.stored_bytes)
    assert len(cassandra.writes()) == written
    assert len(store.versions("flights")) == 1


def test_publishing_a_plan_again_is_the_same_version(store: Store, csv: Csv) -> None:
    plan = store.plan("flights", csv(100))
    results = [store.load_split(plan, None)]
    one, two = store.publish(plan, results), store.publish(plan, results)
    assert one.version == two.version
    assert len(store.versions("flights")) == 1


@pytest.mark.parametrize(
    "change",
    [
        LoadOptions(codec="zstd", codec_level=3),
        LoadOptions(chunk_bytes=100_000),
        LoadOptions(source=SourceOptions(null_values=("text 1",))),
        LoadOptions(source=SourceOptions(column_types=(("n", "int32"),))),
    ],
)
def test_another_setting_is_another_version_of_the_same_run(store: Store, csv: Csv, change: LoadOptions) -> None:
    one = store.plan("flights", csv(100), run="night-1")
    two = store.plan("flights", csv(100), change, run="night-1")
    assert one.fingerprint != two.fingerprint
    assert one.hex != two.hex


def test_another_run_or_another_source_is_another_version(store: Store, csv: Csv) -> None:
    source = csv(100)
    one = store.plan("flights", source, run="night-1")
    assert store.plan("flights", source, run="night-2").hex != one.hex
    assert store.plan("flights", csv(101), run="night-1").hex != one.hex


def test_the_same_plan_made_twice_is_equal(store: Store, csv: Csv) -> None:
    source = csv(100)
    one, two = (store.plan("flights", source, run="night-1") for _ in range(2))
    assert one.to_json() == two.to_json()
    assert re.fullmatch(r"1-[0-9a-f]{6}", one.label)


def test_a_retry_plans_the_same_version_number(store: Store, csv: Csv) -> None:
    source = csv(100)
    plan = store.plan("flights", source, run="night-1")
    store.load_split(plan, None)
    assert store.plan("flights", source, run="night-1").label == plan.label


def test_a_retry_after_other_loads_have_published_becomes_the_latest_version(store: Store, csv: Csv) -> None:
    first = csv(100)
    plan = store.plan("flights", first, run="night-1")
    store.load_split(plan, None)
    for other in range(5):
        store.load("flights", csv(10 + other, name="other.csv"), run=f"other-{other}")
    report = store.load("flights", first, run="night-1")
    assert report.version.startswith("6-")
    assert store.version("flights").label == report.version
    assert numbers(store, "flights") == list(range(100))


def test_a_delayed_attempt_whose_retry_has_published_makes_no_second_version(store: Store, csv: Csv) -> None:
    source = csv(100)
    zombie = store.plan("flights", source, run="night-1")
    results = [store.load_split(zombie, None)]
    store.load("flights", csv(10, name="other.csv"), run="other")
    retried = store.load("flights", source, run="night-1")
    late = store.publish(zombie, results)
    assert late.version == retried.version
    assert len(store.versions("flights")) == 2


def test_an_append_returns_the_parents_rows_first_and_writes_only_its_own(
    store: Store, cassandra: FakeCassandra, csv: Csv
) -> None:
    store.load("flights", csv(100))
    before = len(cassandra.table("chunks"))
    report = store.load("flights", csv(50, first=100, name="more.csv"), LoadOptions(mode="append"))
    assert numbers(store, "flights") == list(range(150))
    assert numbers(store, "flights@1") == list(range(100))
    assert (report.rows, report.total_rows) == (50, 150)
    assert len(cassandra.table("chunks")) == before + 2
    version = store.version("flights")
    pages = store.catalogue.pages.refs(version)
    assert [page.added_by for page in pages] == [version.parent, version.label]


def test_a_repeated_append_reports_the_rows_that_it_added(store: Store, csv: Csv) -> None:
    store.load("flights", csv(100))
    source = csv(50, first=100, name="more.csv")
    one = store.load("flights", source, LoadOptions(mode="append"), run="append-1")
    two = store.load("flights", source, LoadOptions(mode="append"), run="append-1")
    assert (two.version, two.rows, two.total_rows, two.chunks) == (one.version, 50, 150, one.chunks)
    assert (two.raw_bytes, two.stored_bytes, two.splits) == (one.raw_bytes, one.stored_bytes, one.splits)


def test_an_append_of_other_columns_is_refused_when_it_is_planned(store: Store, csv: Csv, tmp_path: Path) -> None:
    store.load("flights", csv(10))
    other = tmp_path / "other.csv"
    other.write_text("n,words\n1,a\n")
    with pytest.raises(SourceTypeError, match="cannot be appended"):
        store.plan("flights", str(other), LoadOptions(mode="append"))


def test_an_append_that_widens_a_column_reads_back_wide(store: Store, csv: Csv, tmp_path: Path) -> None:
    store.load("flights", csv(3))
    wide = tmp_path / "wide.csv"
    wide.write_text("n,text\n1.5,a\n")
    store.load("flights", str(wide), LoadOptions(mode="append"))
    assert store.dataset("flights").to_table()["n"] == pa.chunked_array([[0.0, 1.0, 2.0], [1.5]])


def test_two_concurrent_appends_are_both_in_the_latest_version(store: Store, csv: Csv) -> None:
    store.load("flights", csv(10))
    append = LoadOptions(mode="append")
    plans = [store.plan("flights", csv(5, first=100 * k, name=f"{k}.csv"), append) for k in (1, 2)]
    results = [[store.load_split(plan, None)] for plan in plans]
    for plan, result in zip(plans, results, strict=True):
        store.publish(plan, result)
    found = numbers(store, "flights")
    assert sorted(found) == [*range(10), *range(100, 105), *range(200, 205)]
    assert found[:10] == list(range(10))


def test_types_that_widen_after_the_inferred_sample_widen_its_rows_too(store: Store, tmp_path: Path) -> None:
    late = tmp_path / "late.csv"
    late.write_text("a,b\n" + "1,\n" * 2000 + "2.5,word\n" * 10)
    report = store.load("late", str(late), LoadOptions(source=SourceOptions(infer_bytes=1000)))
    table = store.dataset("late").to_table()
    assert report.rows == 2010
    assert table.schema.types == [pa.float64(), pa.string()]
    assert table["a"].to_pylist() == [1.0] * 2000 + [2.5] * 10


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (LoadOptions(chunk_bytes=0), "chunk_bytes is 0.*65,536 to 5,000,000"),
        (LoadOptions(chunk_bytes=65_535), "chunk_bytes is 65535"),
        (LoadOptions(chunk_bytes=5_000_001), "chunk_bytes is 5000001"),
        (LoadOptions(codec=""), "codec is ''.*gzip, zstd, none"),
        (LoadOptions(codec="lz4"), "codec is 'lz4'.*gzip, zstd, none"),
        (LoadOptions(codec="gzip", codec_level=9), "codec_level is 9.*0 to 3.*gzip"),
        (LoadOptions(mode="merge"), "the mode is 'merge'.*replace, append"),
    ],
)
def test_a_setting_outside_its_range_is_refused_before_anything_is_read_or_written(
    store: Store, cassandra: FakeCassandra, options: LoadOptions, said: str
) -> None:
    with pytest.raises(InvalidSettingError, match=said):
        store.load("flights", "/nothing/there.csv", options)
    assert cassandra.attempts == []


@pytest.mark.parametrize("name", ["Flights", "1flights", "a" * 49, "flights\n", "", "a-b", "flïghts", "a b", "x'; --"])
def test_an_invalid_dataset_name_is_refused_before_anything_is_read(store: Store, name: str) -> None:
    with pytest.raises(InvalidNameError):
        store.load(name, "/nothing/there.csv")


@pytest.mark.parametrize("run", ["", "r" * 251])
def test_an_empty_or_too_long_run_identity_is_refused(store: Store, csv: Csv, run: str) -> None:
    with pytest.raises(InvalidSettingError, match="run's identity"):
        store.plan("flights", csv(1), run=run)


def test_a_missing_source_writes_only_the_report_of_the_failed_run(store: Store, cassandra: FakeCassandra) -> None:
    with pytest.raises(SourceNotFoundError):
        store.load("flights", "/nothing/there.csv")
    tables = [table for attempt in cassandra.writes() for table, _ in attempt.rows]
    assert tables == ["reports", "dataset_runs"]


def test_a_file_without_rows_is_a_version_without_rows(store: Store, csv: Csv) -> None:
    report = store.load("empty", csv(0))
    assert (report.rows, report.chunks) == (0, 0)
    table = store.dataset("empty").to_table()
    assert table.num_rows == 0
    assert table.schema.names == ["n", "text"]


def test_a_version_row_of_5000_columns_and_long_names_stays_below_16_kb(
    store: Store, cassandra: FakeCassandra, tmp_path: Path
) -> None:
    names = [f"a_rather_long_name_of_a_column_{n}" for n in range(5000)]
    deep = tmp_path.joinpath(*["d" * 200] * 10)
    deep.mkdir(parents=True)
    path = deep / "wide.csv"
    path.write_text(",".join(names) + "\n" + ",".join(["1"] * 5000) + "\n")
    types = tuple((name, "int32") for name in names)
    store.load("wide", str(path), LoadOptions(source=SourceOptions(column_types=types)), run="r" * 250)
    (row,) = cassandra.table("versions")
    assert sum(len(value) if isinstance(value, (str, bytes)) else 16 for value in row.values()) < 16_000
    table = store.dataset("wide").to_table(columns=[names[4999], names[0]])
    assert table.schema == pa.schema([(names[4999], pa.int32()), (names[0], pa.int32())])
    assert table.to_pylist() == [{names[4999]: 1, names[0]: 1}]


def in_splits(store: Store, source: str, mode: str = "replace", run: str = "") -> Version:
    """Load with one page per split and return the version."""
    options = LoadOptions(mode=mode, source=SourceOptions(split_bytes=100, max_splits=200))
    plan = store.plan("flights", source, options, run=run or None)
    store.publish(plan, [store.load_split(plan, index) for index in range(len(plan.source.splits))])
    return store.version(f"flights@{plan.label}")


def test_a_version_row_of_many_pages_stays_below_16_kb(store: Store, cassandra: FakeCassandra, csv: Csv) -> None:
    version = in_splits(store, csv(2000))
    (row,) = cassandra.table("versions")
    lists, pages = store.catalogue.pages.lists(version)
    assert version.page_count > 128
    assert [one.entries for one in lists] == [128, version.page_count - 128]
    assert not pages
    assert sum(len(value) if isinstance(value, (str, bytes)) else 16 for value in row.values()) < 16_000
    assert numbers(store, "flights") == list(range(2000))
    assert version.settings["largest_chunk_bytes"] == max(ref.stored_bytes for ref in store.dataset("flights").refs())


def test_an_append_shares_full_page_lists_and_rewrites_the_last_one(
    store: Store, cassandra: FakeCassandra, csv: Csv
) -> None:
    first = in_splits(store, csv(2000))
    store.load("flights", csv(10, 2000, "more.csv"), LoadOptions(mode="append"))
    second = store.version("flights")
    before, after = store.catalogue.pages.lists(first)[0], store.catalogue.pages.lists(second)[0]
    assert after[0] == before[0]
    assert after[1] != before[1]
    assert after[1].entries == before[1].entries + 1
    assert second.attempts == first.attempts + 1
    assert (second.rows, second.page_count) == (2010, first.page_count + 1)
    assert numbers(store, "flights") == list(range(2010))
    assert numbers(store, f"flights@{first.label}") == list(range(2000))


def test_a_filter_reads_only_pages_and_chunks_that_may_hold_matching_rows(
    store: Store, cassandra: FakeCassandra, csv: Csv
) -> None:
    version = in_splits(store, csv(2000))
    before = len(cassandra.reads)
    found = store.dataset("flights").to_table(filter=pc.field("n") == 777)
    assert found["n"].to_pylist() == [777]
    read = [query for query, _, _ in cassandra.reads[before:]]
    lists = len(store.catalogue.pages.lists(version)[0])
    assert sum("ks.pages" in query for query in read) == lists + 1
    assert sum("ks.chunks" in query for query in read) == 1


def test_two_concurrent_appends_merge_and_keep_their_shared_page_lists(
    store: Store, cassandra: FakeCassandra, csv: Csv
) -> None:
    first = in_splits(store, csv(2000))
    append = LoadOptions(mode="append")
    plans = [store.plan("flights", csv(5, 2000 + 5 * i, f"{i}.csv"), append, run=f"r{i}") for i in range(2)]
    for plan in plans:
        store.publish(plan, [store.load_split(plan, None)])
    merged = store.version("flights")
    assert merged.mode == "merge"
    assert store.catalogue.pages.lists(merged)[0][0] == store.catalogue.pages.lists(first)[0][0]
    assert sorted(numbers(store, "flights")) == list(range(2010))
    assert merged.page_count == first.page_count + 2


def test_a_commit_time_is_never_earlier_than_the_parents_commit_time(
    store: Store, cassandra: FakeCassandra, csv: Csv
) -> None:
    store.load("flights", csv(1))
    for host in (cassandra.a, cassandra.b):
        for stamp, row in host.rows["versions"].values():
            row["committed_at"] += timedelta(days=1)
            version = store.catalogue.versions("flights")[0]
            whole = replace(version, schema_blob=row["arrow_schema"], pages_blob=row["pages"], files_blob=row["files"])
            row["checksum"] = whole.compute_checksum()
            assert stamp
    first = store.version("flights")
    store.load("flights", csv(2))
    assert store.version("flights").committed_at >= first.committed_at


def degrade(*tables: str) -> Callable[[Attempt], Any]:
    """Make writes to these tables succeed on one node only."""
    error = Unavailable("one node is down", ConsistencyLevel.TWO, 2, 1)

    def behave(attempt: Attempt) -> Any:
        hit = not attempt.is_probe and attempt.level == TWO and attempt.rows[0][0] in tables
        return error if hit else "ok"

    return behave


@pytest.mark.parametrize("table", ["chunks", "pages", "versions", "attempts", "datasets"])
def test_rows_on_one_node_only_are_recorded_and_reported(
    store: Store, cassandra: FakeCassandra, csv: Csv, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("millrace.load.split._repair_own", lambda *args: 1)  # the fake has no write times
    cassandra.behave = degrade(table)
    report = store.load("flights", csv(100))
    assert report.degraded
    assert report.replicas == 1
    assert report.under_replicated >= 1
    assert cassandra.table("under_replicated")


def test_a_damaged_chunk_of_a_dead_attempt_is_written_again(store: Store, cassandra: FakeCassandra, csv: Csv) -> None:
    source = csv(100)
    store.load_split(store.plan("flights", source, run="night-1"), None)
    for host in (cassandra.a, cassandra.b):
        for _, row in host.rows["chunks"].values():
            row["data"] = b"damaged" + row["data"]
    report = store.load("flights", source, run="night-1")
    assert numbers(store, "flights") == list(range(100))
    assert report.rows == 100


def test_complete_chunks_of_a_dead_attempt_are_not_written_again(
    store: Store, cassandra: FakeCassandra, csv: Csv
) -> None:
    source = csv(100)
    store.load_split(store.plan("flights", source, run="night-1"), None)
    before = len(cassandra.table("chunks"))
    store.load("flights", source, run="night-1")
    assert len(cassandra.table("chunks")) == before
    assert numbers(store, "flights") == list(range(100))


@pytest.mark.parametrize(
    ("condition", "kept"),
    [
        (pc.field(0) < 2, [0, 1]),
        (pc.field("deep", "inner") < 2, [0, 1]),
        (pc.field("with space") < 2, [0, 1]),
        (pc.field("n'; \n") < 2, [0, 1]),
        (pc.field("inn") < 2, [0, 1]),
        ((pc.field("a") < 5) & (pc.field("inn") >= 3), [3, 4]),
        (pc.scalar(True), list(range(9))),
    ],
)
def test_a_filter_finds_columns_by_position_path_and_unusual_names(
    store: Store, tmp_path: Path, condition: pc.Expression, kept: list[int]
) -> None:
    numbers = pa.array(range(9))
    names = ["a", "inn", "with space", "n'; \n"]
    table = pa.table(dict.fromkeys(names, numbers))
    table = table.append_column("deep", pa.StructArray.from_arrays([numbers], ["inner"]))
    source = tmp_path / "named.arrow"
    with pa.ipc.new_file(source, table.schema) as writer:
        writer.write_table(table)
    store.load("named", str(source))
    assert store.dataset("named").to_table(["a"], filter=condition)["a"].to_pylist() == kept
    assert store.dataset("named").to_table(filter=condition).equals(table.take(kept))


@pytest.mark.parametrize(
    ("condition", "kept"),
    [
        (pc.field(0) < 2, [0, 1]),
        (pc.field(1) < 2, [7, 8]),
        (pc.field(2) == 1, [1, 3, 5, 7]),
        ((pc.field(0) < 4) & (pc.field("b") < 7), [2, 3]),
        (pc.field("हिन्दी") > 5, [6, 7, 8]),
        ((pc.field("हिन्दी") > 5) & (pc.field("b") < 2), [7, 8]),
        (pc.field("e\u0301") == "4", [4]),
        (pc.field("b") == 8, [0]),
    ],
)
@pytest.mark.parametrize("columns", [None, ["b"], ["e\u0301", "a"], []])
def test_a_filter_by_position_or_by_a_name_in_any_script_keeps_the_same_rows_as_arrow(
    store: Store, tmp_path: Path, condition: pc.Expression, kept: list[int], columns: list[str] | None
) -> None:
    up = list(range(9))
    table = pa.table({"a": up, "b": up[::-1], "odd": [x % 2 for x in up], "हिन्दी": up, "e\u0301": [str(x) for x in up]})
    source = tmp_path / "scripts.arrow"
    with pa.ipc.new_file(source, table.schema) as writer:
        writer.write_table(table)
    store.load("scripts", str(source))
    assert table.filter(condition).equals(table.take(kept))
    found = store.dataset("scripts").to_table(columns, filter=condition)
    wanted = table.take(kept) if columns is None else table.take(kept).select(columns)
    assert found.num_rows == len(kept)
    assert found.equals(wanted)


def test_a_publish_with_a_node_down_records_its_last_writes_as_under_replicated(
    store: Store, cassandra: FakeCassandra, csv: Csv
) -> None:
    """The publisher lost no connection itself, but that node may lack the last seconds of the splits' writes."""
    plan = store.plan("flights", csv(100))
    results = [store.load_split(plan, None)]
    assert cassandra.table("under_replicated") == []
    cassandra.b.is_up = False
    assert store.publish(plan, results).degraded
    noted = {row["bucket"] for row in cassandra.table("under_replicated") if row["attempt_id"] == results[0].attempt_id}
    assert noted == {MetadataBucket.CATALOGUE, MetadataBucket.PAGES, 0}


@pytest.mark.parametrize("splits", [False, True], ids=["one stream", "in splits"])
def test_a_version_records_the_checksum_and_size_of_its_source(store: Store, csv: Csv, splits: bool) -> None:
    source = csv(2000)
    version = in_splits(store, source) if splits else store.version(f"flights@{store.load('flights', source).version}")
    assert version.source["crc32"] == f"{zlib.crc32(Path(source).read_bytes()):08x}"
    assert version.source["bytes"] == Path(source).stat().st_size


def test_split_results_without_a_source_checksum_make_a_version_without_one(store: Store, csv: Csv) -> None:
    """Tasks of the previous release send such results during an upgrade."""
    plan = store.plan("flights", csv(100))
    said = store.load_split(plan, None).to_json()
    del said["contents"]
    store.publish(plan, [SplitResult.from_json(said)])
    assert "crc32" not in store.version("flights").source


class Counting:
    """Acknowledges each chunk 20 ms later and records the most chunks in flight at once."""

    def __init__(self) -> None:
        self.most = self.open = 0
        self.lock = threading.Lock()

    def __call__(self, attempt: Attempt) -> Any:
        if attempt.is_probe or attempt.rows[0][0] != "chunks":
            return "ok"
        with self.lock:
            self.open += 1
            self.most = max(self.most, self.open)
        threading.Timer(0.02, self.answer, [attempt]).start()
        return "silent"

    def answer(self, attempt: Attempt) -> None:
        with self.lock:
            self.open -= 1
        attempt.answer("ok")


@pytest.mark.parametrize(("cap", "most"), [(1, {1}), (2, {2}), (0, set(range(3, 99)))])
def test_no_more_chunks_are_in_flight_than_the_setting_allows(
    cassandra: FakeCassandra, settings: Settings, csv: Csv, cap: int, most: set[int]
) -> None:
    capped = settings.model_copy(update={"load": settings.load.model_copy(update={"chunks_in_flight": cap})})
    cassandra.behave = counting = Counting()
    with Store(cassandra, capped) as store:
        assert store.load("flights", csv(100_000), LoadOptions(chunk_bytes=65_536)).chunks > 5
    assert counting.most in most


def test_no_more_bytes_per_second_are_sent_than_the_setting_allows(
    cassandra: FakeCassandra, settings: Settings, csv: Csv
) -> None:
    rate = 400_000
    capped = settings.model_copy(update={"load": settings.load.model_copy(update={"bytes_per_s": rate})})
    with Store(cassandra, capped) as store:
        report = store.load("flights", csv(60_000), LoadOptions(chunk_bytes=65_536))
    last = max(ref.stored_bytes for ref in store.dataset("flights").refs())
    assert report.seconds >= (report.stored_bytes - last) / rate  # the last chunk is not delayed
