"""The DAG of an entry: its schedule, its documentation, and the load that a run of it was started for."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import Asset, AssetAny, CronTriggerTimetable, DeltaTriggerTimetable

from millrace.airflow.declared import EntryRequest, ingest_dag
from millrace.airflow.notifier import ReportNotifier
from millrace.declarations import SourceEntry
from millrace.errors import SourceNotFoundError, UsageError
from millrace.settings import load_settings

MORNING = datetime(2026, 11, 29, 4, 30, tzinfo=UTC)


@pytest.fixture
def inbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MILLRACE_SOURCES__ROOTS", str(tmp_path))
    for day in ("28", "29"):
        (tmp_path / f"2026-11-{day}.csv").touch()
    return tmp_path


def entry(**fields: Any) -> SourceEntry:
    return SourceEntry.model_validate(fields, context={"name": "trips"})


def request(made: SourceEntry, **run: Any) -> EntryRequest:
    facts = {"run_type": "scheduled", "logical_date": MORNING, "run_after": MORNING}
    return EntryRequest(made, SimpleNamespace(**{**facts, **run}))


@pytest.mark.parametrize(
    ("fields", "schedule"),
    [
        (
            {"schedule": "5 2 * * *", "timezone": "America/New_York"},
            CronTriggerTimetable("5 2 * * *", timezone="America/New_York", run_immediately=timedelta(minutes=1)),
        ),
        ({"every": "15m"}, DeltaTriggerTimetable(timedelta(minutes=15))),
        ({"after": ["a", "b"]}, AssetAny(Asset.ref(name="dataset/a"), Asset.ref(name="dataset/b"))),
        ({}, None),
    ],
)
def test_the_schedule_is_that_of_the_entry(fields: dict[str, Any], schedule: object) -> None:
    dag = ingest_dag("trips", {"uri": ["a.csv"], **fields})
    assert repr(dag.schedule) == repr(schedule)
    assert (dag.dag_id, dag.catchup, dag.max_active_runs) == ("ingest_trips", False, 1)
    assert dag.is_paused_upon_creation is False


def test_owner_and_tags_are_those_of_the_entry() -> None:
    dag = ingest_dag("trips", {"uri": ["a.csv"], "owner": "team", "tags": ["daily"]})
    assert dag.tags == {"millrace", "ingest", "daily"}
    assert {task.owner for task in dag.tasks} == {"team"}
    assert {task.owner for task in ingest_dag("trips", {"uri": ["a.csv"]}).tasks} == {"millrace"}


def test_the_tasks_are_those_of_ingest_dataset() -> None:
    dag = ingest_dag("trips", {"uri": ["a.csv"]})
    order = {task.task_id: sorted(task.downstream_task_ids) for task in dag.tasks}
    assert order == {
        "plan": ["load", "publish", "verify"],
        "load": ["publish", "verify"],
        "verify": ["publish"],
        "publish": ["warm"],
        "warm": [],
    }
    for task in dag.tasks:
        assert f"**{task.task_id}**" in (dag.doc_md or "")


def test_the_documentation_has_the_fields_as_yaml() -> None:
    import yaml

    values = {"uri": ["a.csv"], "null_values": ["NA", "ä"], "connection": "lake", "max_bad_rows": "1%"}
    documentation = ingest_dag("trips", values).doc_md or ""
    assert yaml.safe_load(documentation.partition("```yaml\n")[2].partition("```")[0]) == values
    assert documentation.startswith("Load trips from a.csv: by hand.")
    assert "millrace ingest trips --force" in documentation


def test_reports_are_posted_only_where_the_entry_names_a_connection() -> None:
    assert ingest_dag("trips", {"uri": ["a.csv"]}).on_failure_callback is None
    dag = ingest_dag("trips", {"uri": ["a.csv"], "notify": "hook"})
    for callback in (dag.on_failure_callback, dag.on_success_callback):
        assert isinstance(callback, ReportNotifier)
        assert (callback.connection, callback.source) == ("hook", "trips")


def test_a_dag_survives_airflows_serialization() -> None:
    from airflow.serialization.serialized_objects import DagSerialization

    dag = ingest_dag("trips", {"uri": ["a.csv"], "after": ["a"], "notify": "hook"})
    document = json.loads(json.dumps(DagSerialization.to_dict(dag)))
    assert set(DagSerialization.from_dict(document).task_dict) == set(dag.task_dict)


def test_dates_are_those_of_the_logical_date_in_the_timezone_of_the_entry(inbox: Path) -> None:
    made = entry(uri="{date:%Y-%m-%d}.csv", timezone="America/New_York")
    source, options = request(made, logical_date=MORNING).load(load_settings())
    assert source == str(inbox / "2026-11-28.csv")  # 23:30 in New York
    assert options.mode == "incremental"
    source, _ = request(made, logical_date=MORNING + timedelta(hours=1)).load(load_settings())
    assert source == str(inbox / "2026-11-29.csv")


def test_a_run_without_a_logical_date_takes_the_time_it_was_triggered(inbox: Path) -> None:
    made = entry(uri="{date-1d:%Y-%m-%d}.csv")
    source, _ = request(made, logical_date=None, run_after=MORNING).load(load_settings())
    assert source == str(inbox / "2026-11-28.csv")


def test_a_backfill_is_refused_unless_the_entry_is_incremental(inbox: Path) -> None:
    for mode in ("replace", "append"):
        with pytest.raises(UsageError, match=f"a backfill of the mode {mode} is refused"):
            request(entry(uri="2026-11-28.csv", mode=mode), run_type="backfill").load(load_settings())
    source, _ = request(entry(uri="{date:%Y-%m-%d}.csv"), run_type="backfill").load(load_settings())
    assert source == str(inbox / "2026-11-29.csv")


def test_paths_are_below_the_allowed_folders(inbox: Path) -> None:
    with pytest.raises(UsageError, match="is outside of the folders"):
        request(entry(uri="/etc/passwd")).load(load_settings())
    with pytest.raises(SourceNotFoundError):
        request(entry(uri="nothing.csv")).load(load_settings())
    with pytest.raises(UsageError):
        request(entry(uri="2026-11-28.csv", schema_file="/etc/passwd")).load(load_settings())


def test_defining_a_dag_imports_nothing_heavy() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from millrace.airflow.declared import ingest_dag; "
        "ingest_dag('a', {'uri': ['a.csv'], 'column_types': {'a': 'int64'}, 'schedule': '5 2 * * *'}); "
        "print({'pyarrow', 'numpy', 'cassandra', 'redis', 'confluent_kafka'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"


def test_a_new_entry_with_a_cron_string_waits_for_its_next_time() -> None:
    from airflow.serialization.serialized_objects import DagSerialization
    from airflow.timetables.base import TimeRestriction

    now = datetime.now(UTC)
    minute_ago = now - timedelta(minutes=1)
    dag = ingest_dag("trips", {"uri": ["a.csv"], "schedule": f"{minute_ago.minute} {minute_ago.hour} * * *"})
    timetable = DagSerialization.from_dict(DagSerialization.to_dict(dag)).timetable
    restriction = TimeRestriction(earliest=None, latest=None, catchup=False)
    info = timetable.next_dagrun_info(last_automated_data_interval=None, restriction=restriction)
    assert info.run_after > now
