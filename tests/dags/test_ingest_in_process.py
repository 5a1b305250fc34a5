"""``ingest_dataset`` on the real services, run by ``dag.test`` in this process: every option and every failure."""

from __future__ import annotations

import json
import os
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from millrace.airflow.form import load_form
from millrace.airflow.request import load_options
from millrace.api import Store
from millrace.errors import DatasetNotFoundError, SourceChangedError, StoreUnavailableError
from millrace.load import LoadReport
from millrace.progress import Event
from millrace.progress.merge import RunStates
from millrace.progress.runs import RunState, state_of_run
from tests.dags.events import EventLog, airflows, are, own
from tests.remote_servers import s3_server

RunDag = Callable[..., Any]
ROWS = 40_000


@pytest.fixture
def name() -> str:
    return f"dags_{uuid4().hex[:8]}"


@pytest.fixture
def three_files(inbox: Path, name: str) -> Path:
    """Write a folder of three files, each of which is one split at the smallest split size."""
    folder = inbox / name
    folder.mkdir()
    for number in range(3):
        lines = [f"{number * ROWS + row},text number {row},{row / 4}" for row in range(ROWS)]
        (folder / f"part-{number}.csv").write_text("id,word,value\n" + "\n".join(lines) + "\n")
    return folder


def whole(folder: Path) -> pa.Table:
    return pa.concat_tables(pyarrow.csv.read_csv(path) for path in sorted(folder.glob("*.csv")))


def task_states(run: Any) -> dict[tuple[str, int], str]:
    return {(each.task_id, each.map_index): str(each.state) for each in run.get_task_instances()}


def xcoms(run: Any) -> dict[tuple[str, int, str], Any]:
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        rows = session.scalars(select(XComModel).where(XComModel.run_id == run.run_id)).all()
        return {(row.task_id, row.map_index, row.key): XComModel.deserialize_value(row) for row in rows}


def test_each_split_is_a_task_with_its_own_progress_and_the_table_equals_the_files(
    run_dag: RunDag, three_files: Path, name: str, store: Store, events: EventLog
) -> None:
    run = run_dag(dataset=name, source=str(three_files), split_bytes=1_000_000, warm=True)

    assert task_states(run) == {
        ("plan", -1): "success",
        **{("load", index): "success" for index in range(3)},
        ("verify", -1): "success",
        ("publish", -1): "success",
        ("warm", -1): "success",
    }
    assert store.dataset(name).to_table().equals(whole(three_files))
    succeeds = ((1, "running"), (1, "succeeded"))
    run_events = events.of_run(
        run.run_id,
        lambda seen: (
            are(airflows(seen, "warm"), *succeeds)
            and all(are(voice(seen, "load", index), *succeeds) for voice in (own, airflows) for index in range(3))
        ),
    )
    for index in range(3):
        last = own(run_events, "load", index)[-1]["data"]
        assert last["kind"] == "load"
        assert last["dataset"] == name
        assert last["done"] == last["total"] > 0
    kinds = {each["data"]["task_id"]: each["data"]["kind"] for each in run_events if "kind" in each["data"]}
    assert kinds == {kind: kind for kind in ("plan", "load", "verify", "publish", "warm")}


def seen(events: list[Event], last: Event | None = None) -> RunState:
    """Return the state of the run after these events, up to ``last`` if it is given."""
    run_states = RunStates()
    for event in events:
        run_states.apply(event)
        if event is last:
            break
    (key,) = run_states.runs()
    return state_of_run(key, run_states.tasks(key))


def test_the_total_is_complete_after_the_plan_and_the_headline_counts_the_loaded_rows(
    run_dag: RunDag, three_files: Path, name: str, store: Store, events: EventLog
) -> None:
    whole_bytes = sum(path.stat().st_size for path in three_files.iterdir())
    steps = ["plan", "load", "verify", "publish", "warm"]
    for mode, words in (
        ("replace", f"load: {3 * ROWS:,} rows loaded"),
        ("append", f"load: {3 * ROWS:,} rows added, {6 * ROWS:,} in the version"),
    ):
        run = run_dag(dataset=name, source=str(three_files), split_bytes=1_000_000, warm=False, mode=mode)
        run_events = events.of_run(
            run.run_id, lambda received: are(airflows(received, "warm"), (1, "running"), (1, "skipped"))
        )
        planned = seen(run_events, own(run_events, "plan")[-1])
        assert planned.total is not None
        assert (planned.total.done, planned.total.total, planned.total.unit) == (0, whole_bytes, "bytes")
        for event in own(run_events, "load", 1):
            total = seen(run_events, event).total
            assert total is not None
            assert total.total == whole_bytes
        run_state = seen(run_events)
        assert run_state.headline == words
        assert run_state.state == "succeeded"
        assert list(dict.fromkeys(task.key[2] for task in run_state.tasks)) == steps
        version = store.version(name)
        assert run_state.result == {
            "dataset": name,
            "version": version.label,
            "kind": "table",
            "mode": mode,
            "rows": 3 * ROWS,
            "total_rows": version.rows,
            "raw_bytes": version.raw_bytes // (1 if mode == "replace" else 2),
            "stored_bytes": version.stored_bytes // (1 if mode == "replace" else 2),
            "columns": [["id", "int64"], ["word", "string"], ["value", "double"]],
            "columns_total": 3,
            "rejected": 0,
            "skipped": "",
        }


def test_a_failed_plan_is_in_the_headline(run_dag: RunDag, name: str, events: EventLog) -> None:
    run = run_dag(dataset=name, source="/etc/passwd")
    run_events = events.of_run(
        run.run_id, lambda received: are(airflows(received, "plan"), (1, "running"), (1, "failed"))
    )
    assert re.match("load: plan failed, .*/etc/passwd", seen(run_events).headline)


def test_the_result_is_the_load_report_and_xcoms_are_small(
    run_dag: RunDag, three_files: Path, name: str, store: Store
) -> None:
    run = run_dag(dataset=name, source=str(three_files), warm=False)
    values = xcoms(run)
    report = values["publish", -1, "return_value"]
    version = store.version(name)
    assert report["version"] == version.label
    assert (report["rows"], report["total_rows"], report["chunks"]) == (3 * ROWS, 3 * ROWS, version.chunks)
    assert report["run"] == f"ingest_dataset/{run.run_id}"
    assert report["replicas"] == 2
    assert report["seconds"] > 0
    assert report["rows_per_s"] == pytest.approx(3 * ROWS / report["seconds"], rel=0.01)
    assert all(len(json.dumps(value)) < 64_000 for value in values.values())
    assert set(values["load", 0, "return_value"]) == {
        "split", "attempt_id", "inherited", "pages", "chunks", "rows", "raw_bytes", "stored_bytes", "under_replicated",
        "retries", "schema", "contents", "rejects", "span_s",
    }  # fmt: skip
    assert list(report["stages"]) == ["plan", "load", "verify", "publish"]
    assert (report["state"], report["source_facts"]["files"]) == ("succeeded", 3)
    assert store.run_report(report["run"]).to_json() == LoadReport.from_json(report).to_json()
    data = b"".join(path.read_bytes() for path in sorted(three_files.iterdir()))
    assert version.source["crc32"] == f"{zlib.crc32(data):08x}"


def test_the_form_s_source_options_reach_the_load(run_dag: RunDag, inbox: Path, name: str, store: Store) -> None:
    (inbox / f"{name}.txt").write_text("1\tNA\tx\n2\t5\tNA\n")
    run = run_dag(
        dataset=name,
        source=f"{name}.txt",
        format="csv",
        delimiter="\\t",
        header=False,
        null_values=["NA"],
        column_types=["f0=int32"],
        codec="zstd",
        warm=False,
    )
    assert run.state == "success"
    table = store.dataset(name).to_table()
    assert table.column(0).type == pa.int32()
    assert table.column(1).to_pylist() == [None, 5]
    assert table.column(2).to_pylist() == ["x", None]


def test_a_csv_with_local_formats_is_loaded_by_the_form_s_fields(
    run_dag: RunDag, inbox: Path, name: str, store: Store
) -> None:
    text = "Bericht\nStand 1. Mai\nid;preis;neu;notiz;a=b\n1;1234,5;ja;ä;7\n2;-0,25;nein;;8\n"
    (inbox / f"{name}.csv").write_text(text, encoding="latin-1")
    run = run_dag(
        dataset=name,
        source=f"{name}.csv",
        delimiter="auto",
        encoding="latin-1",
        skip_rows=2,
        decimal=",",
        true_value=["ja"],
        false_value=["nein"],
        column_types=["a=b=int16"],
        columns=["preis", "neu", "a=b"],
        rename=["preis=price", '"a=b"=count'],
        warm=False,
    )
    assert run.state == "success"
    expected = pa.table({"price": [1234.5, -0.25], "neu": [True, False], "count": pa.array([7, 8], pa.int16())})
    assert store.dataset(name).to_table().equals(expected)


def test_a_warning_of_the_report_names_the_form_s_field(run_dag: RunDag, inbox: Path, name: str) -> None:
    (inbox / f"{name}.csv").write_text("id;word\n1;a\n2;b\n")
    run = run_dag(dataset=name, source=f"{name}.csv", warm=False)
    (warning,) = xcoms(run)["publish", -1, "return_value"]["warnings"]
    assert warning["code"] == "one_column"
    assert 'give "Delimiter" ' in warning["message"]
    assert "--" not in warning["message"]


def test_append_adds_to_the_latest_version(run_dag: RunDag, three_files: Path, name: str, store: Store) -> None:
    run_dag(dataset=name, source=str(three_files / "part-0.csv"), warm=False)
    run = run_dag(dataset=name, source=str(three_files / "part-1.csv"), mode="append", warm=False)
    report = xcoms(run)["publish", -1, "return_value"]
    assert (report["rows"], report["total_rows"]) == (ROWS, 2 * ROWS)
    assert store.dataset(name).to_table().equals(whole(three_files).slice(0, 2 * ROWS))


def test_a_source_without_rows_becomes_a_version_without_rows(
    run_dag: RunDag, inbox: Path, name: str, store: Store
) -> None:
    (inbox / f"{name}.csv").write_text("a,b\n")
    empty = pa.table({"a": pa.array([], pa.int64()), "b": pa.array([], pa.string())})
    pyarrow.parquet.write_table(empty, inbox / f"{name}.parquet")
    for source in (f"{name}.csv", f"{name}.parquet"):
        run = run_dag(dataset=name, source=source, warm=True)
        assert run.state == "success", source
        assert xcoms(run)["publish", -1, "return_value"]["rows"] == 0
        assert store.dataset(name).count_rows() == 0
    assert store.dataset(name).schema.equals(empty.schema)


def test_warm_false_skips_the_warm_task(run_dag: RunDag, three_files: Path, name: str, events: EventLog) -> None:
    run = run_dag(dataset=name, source=str(three_files), warm=False)
    assert run.state == "success"
    assert task_states(run)["warm", -1] == "skipped"
    events.of_run(run.run_id, lambda received: are(airflows(received, "warm"), (1, "running"), (1, "skipped")))


def test_a_version_is_an_event_on_its_asset(run_dag: RunDag, three_files: Path, name: str, store: Store) -> None:
    from airflow.models.asset import AssetEvent, AssetModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    run = run_dag(dataset=name, source=str(three_files), warm=False)
    with create_session() as session:
        (event,) = session.scalars(select(AssetEvent).where(AssetEvent.source_run_id == run.run_id)).all()
        asset = session.get(AssetModel, event.asset_id)
        assert asset is not None
        assert asset.name == f"dataset/{name}"
        assert asset.uri == f"x-cassandra://{store.cassandra.cluster_name}/{store.settings.cassandra.keyspace}/{name}"
        assert event.extra["version"] == store.version(name).label
        assert event.extra["rows"] == 3 * ROWS
        assert event.extra["stored_bytes"] == store.version(name).stored_bytes


def test_a_source_outside_of_the_roots_fails_at_once_with_an_error_that_names_the_roots(
    run_dag: RunDag, inbox: Path, name: str, store: Store, events: EventLog
) -> None:
    run = run_dag(dataset=name, source="/etc/passwd")
    assert task_states(run) == {
        ("plan", -1): "failed",
        **{(task, -1): "upstream_failed" for task in ("load", "verify", "publish", "warm")},
    }
    fails = ((1, "running"), (1, "failed"))
    run_events = events.of_run(
        run.run_id, lambda seen: are(own(seen, "plan"), *fails) and are(airflows(seen, "plan"), *fails)
    )
    for voice in (own(run_events, "plan")[-1], airflows(run_events, "plan")[-1]):
        assert voice["data"]["error"]["type"] == "UsageError"
        assert str(inbox) in voice["data"]["error"]["message"]
    with pytest.raises(DatasetNotFoundError):
        store.version(name)


@pytest.mark.parametrize(
    ("conf", "reason"),
    [
        ({"sorce": "a.csv"}, "the run's conf has the unknown key 'sorce': did you mean 'source'?"),
        ({"dataset": "Not A Name"}, "'Not A Name' is not a dataset name: use a lower-case letter"),
        ({"delimiter": ";;"}, "the delimiter is ';;': give one ASCII character"),
        ({"column_types": ["v=strin"]}, "unknown column type 'strin': use an Arrow type"),
        ({"format": "bytes", "null_values": ["NA"]}, 'cannot be given: leave out "Null values"'),
        (
            {"column_types": ["v=int64"]},
            "line 3: column 'v' was int64 and is 'x' (string) here: give its type: \"Column types\" v=string",
        ),
    ],
)
def test_an_error_in_a_form_is_reported_in_the_terms_of_the_form_s_fields(
    run_dag: RunDag, inbox: Path, name: str, events: EventLog, conf: dict[str, Any], reason: str
) -> None:
    (inbox / f"{name}.csv").write_text("v\n1\nx\n")
    run = run_dag(**{"dataset": name, "source": f"{name}.csv", **conf})
    assert run.state == "failed"
    run_events = events.of_run(
        run.run_id, lambda run_events: any(each["data"]["state"] == "failed" for each in run_events)
    )
    messages = [each["data"]["error"]["message"] for each in run_events if each["data"]["error"]]
    assert all(reason in message for message in messages), messages


def test_the_report_of_a_failed_run_is_kept_in_the_store(run_dag: RunDag, inbox: Path, name: str, store: Store) -> None:
    (inbox / f"{name}.csv").write_text("v\n1\nx\n")
    run = run_dag(dataset=name, source=f"{name}.csv", column_types=["v=int64"])
    report = store.run_report(f"ingest_dataset/{run.run_id}")
    assert (report.state, report.dataset, report.version) == ("failed", name, "")
    assert 'give its type: "Column types" v=string' in report.state_in_words
    row = store.last_run(name)
    assert row is not None
    assert (row.run, row.state) == (f"ingest_dataset/{run.run_id}", "failed")


def test_a_pattern_through_a_link_out_of_the_roots_is_refused(
    run_dag: RunDag, inbox: Path, name: str, store: Store, tmp_path: Path
) -> None:
    (tmp_path / "secret.csv").write_text("id\n1\n")
    (inbox / name).mkdir()
    (inbox / name / "link").symlink_to(tmp_path)
    for pattern in (f"{name}/*/*.csv", f"{name}/**/secret.csv", f"{inbox}/{name}/l*/*"):
        run = run_dag(dataset=name, source=pattern)
        assert task_states(run)["plan", -1] == "failed"
    with pytest.raises(DatasetNotFoundError):
        store.version(name)


def test_a_run_that_is_planned_again_with_other_content_of_the_same_size_and_time_is_refused(
    run_dag: RunDag, inbox: Path, name: str, store: Store
) -> None:
    source = inbox / f"{name}.csv"
    source.write_text("v\n333\n")
    os.utime(source, ns=(10**18, 10**18))
    run = run_dag(dataset=name, source=source.name)
    assert run.state == "success"
    params = {key: each.value for key, each in load_form().items() if key not in ("dataset", "source")}
    uri, options = load_options({**params, "dataset": name, "source": source.name}, store.settings)
    identity = f"ingest_dataset/{run.run_id}"
    assert store.plan(name, uri, options, run=identity).published
    source.write_text("v\n444\n")
    os.utime(source, ns=(10**18, 10**18))
    with pytest.raises(SourceChangedError, match="differs from the source that the run 'ingest_dataset/"):
        store.plan(name, uri, options, run=identity)


def test_a_ragged_row_in_a_source_fails_its_task_without_a_retry_and_leaves_no_version(
    run_dag: RunDag, three_files: Path, name: str, store: Store, events: EventLog
) -> None:
    with (three_files / "part-1.csv").open("a") as file:
        file.write("7000,ragged\n")
    run = run_dag(dataset=name, source=str(three_files), infer_bytes=10, split_bytes=1_000_000)
    assert run.state == "failed"
    run_events = events.of_run(run.run_id, lambda seen: any(each["data"]["state"] == "failed" for each in seen))
    failed = {
        (each["data"]["task_id"], each["data"]["attempt"]) for each in run_events if each["data"]["state"] == "failed"
    }
    assert len(failed) == 1
    assert failed <= {("plan", 1), ("load", 1)}
    messages = {each["data"]["error"]["message"] for each in run_events if each["data"]["error"]}
    assert all("part-1.csv" in message for message in messages)
    with pytest.raises(DatasetNotFoundError):
        store.version(name)


def test_a_retriable_error_is_retried_and_the_rows_are_loaded_once(
    run_dag: RunDag,
    three_files: Path,
    name: str,
    store: Store,
    events: EventLog,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = Store.load_split
    failed: list[int | None] = []

    def once_unavailable(self: Store, plan: Any, split: int | None, **options: Any) -> Any:
        if split not in failed:
            failed.append(split)
            raise StoreUnavailableError("no node answers", hint="./run status")
        return real(self, plan, split, **options)

    monkeypatch.setattr(Store, "load_split", once_unavailable)
    run = run_dag(dataset=name, source=str(three_files), split_bytes=1_000_000, warm=False)
    assert run.state == "success"
    expected = ((1, "running"), (1, "retrying"), (2, "running"), (2, "succeeded"))
    run_events = events.of_run(
        run.run_id,
        lambda seen: all(are(voice(seen, "load", index), *expected) for voice in (own, airflows) for index in range(3)),
    )
    assert own(run_events, "load", 0)[-1]["data"]["error"] is None
    assert len(store.versions(name)) == 1
    assert store.dataset(name).to_table().equals(whole(three_files))


def test_without_kafka_and_without_redis_the_load_is_the_same(
    run_dag: RunDag, three_files: Path, name: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody = {"conn_type": "kafka", "extra": {"bootstrap.servers": "127.0.0.1:1"}}
    monkeypatch.setenv("AIRFLOW_CONN_KAFKA_DEFAULT", json.dumps(nobody))
    monkeypatch.setenv("AIRFLOW_CONN_REDIS_DEFAULT", json.dumps({"conn_type": "redis", "host": "127.0.0.1", "port": 1}))
    run = run_dag(dataset=name, source=str(three_files), warm=True)
    assert run.state == "success"
    values = xcoms(run)
    assert values["publish", -1, "return_value"]["rows"] == 3 * ROWS
    assert values["warm", -1, "return_value"]["complete"] is False
    assert values["warm", -1, "return_value"]["reason"]
    assert store.dataset(name).to_table().equals(whole(three_files))


def test_a_damaged_chunk_fails_the_verify_task_before_a_version_is_visible(
    run_dag: RunDag, three_files: Path, name: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Store.load_split

    def then_damaged(self: Store, plan: Any, split: int | None, **options: Any) -> Any:
        result = real(self, plan, split, **options)
        keyspace = self.settings.cassandra.keyspace
        for page in self.catalogue.pages.finished(plan.dataset, result.attempt_id):
            for ref in self.catalogue.pages.page(plan.dataset, page).refs():
                place = (ref.dataset, ref.attempt_id, ref.bucket, ref.chunk)
                self.cassandra.session.execute(
                    f"UPDATE {keyspace}.chunks SET data = %s "
                    "WHERE dataset = %s AND attempt_id = %s AND bucket = %s AND chunk = %s AND tile = 0",
                    (b"something else", *place),
                )
        return result

    monkeypatch.setattr(Store, "load_split", then_damaged)
    run = run_dag(dataset=name, source=str(three_files / "part-0.csv"), warm=False)
    assert task_states(run)["verify", -1] == "failed"
    assert task_states(run)["publish", -1] == "upstream_failed"
    with pytest.raises(DatasetNotFoundError):
        store.version(name)


@pytest.mark.filterwarnings("ignore:Legacy execution parameters:DeprecationWarning")
def test_the_providers_hook_reaches_the_cluster_by_the_same_connection(
    run_dag: RunDag, three_files: Path, name: str, store: Store
) -> None:
    from airflow.providers.apache.cassandra.hooks.cassandra import CassandraHook

    run_dag(dataset=name, source=str(three_files), warm=False)
    hook = CassandraHook("cassandra_default")
    try:
        keyspace = store.settings.cassandra.keyspace
        assert hook.table_exists(f"{keyspace}.chunks")
        names = {host.address for host in hook.get_conn().cluster.metadata.all_hosts()}
        assert names == set(store.settings.cassandra.contact_points)
    finally:
        hook.shutdown_cluster()


def test_the_connection_of_airflow_reads_an_object_of_s3(
    run_dag: RunDag, name: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with s3_server() as server:
        monkeypatch.setenv("MILLRACE_SOURCES__HOSTS", f"127.0.0.1:{server.proxy.port}=127.0.0.0/8")
        monkeypatch.setenv("AIRFLOW_CONN_MY_LAKE", server.connection())
        uri = server.put("d/a.csv", b"n\n" + b"".join(b"%d\n" % number for number in range(ROWS)))
        run = run_dag(dataset=name, source=uri, connection="my_lake")
        assert str(run.state) == "success"
        assert store.dataset(name).to_table().column("n").to_pylist() == list(range(ROWS))
        assert not any(server.secret in str(value) for value in xcoms(run).values())
