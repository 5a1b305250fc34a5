"""``maintain_store`` on the real services, run by ``dag.test`` in this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from millrace.api import Store
from millrace.compat.cassandra.large_frames import NODE_LOCAL
from millrace.progress.merge import RunStates
from millrace.progress.runs import state_of_run
from tests.dags.events import EventLog, are, own
from tests.dags.test_ingest_in_process import task_states, xcoms

RunDag = Callable[..., Any]


@pytest.fixture
def name(store: Store, tmp_path: Path) -> str:
    """Load a dataset of three versions; return its name."""
    made = f"dags_{uuid4().hex[:8]}"
    for rows in (10, 20, 30):
        (tmp_path / "t.csv").write_text("n\n" + "".join(f"{n}\n" for n in range(rows)))
        store.load(made, str(tmp_path / "t.csv"))
    return made


def test_by_default_everything_is_repaired_and_checked_and_nothing_is_deleted(
    run_dag: RunDag, name: str, store: Store, events: EventLog
) -> None:
    run = run_dag("maintain_store", dataset=name)
    assert task_states(run) == {
        ("repair", -1): "success",
        ("verify", -1): "success",
        ("prune", -1): "skipped",
        ("fsck", -1): "success",
    }
    assert [version.rows for version in store.versions(name)] == [30, 20, 10]
    values = xcoms(run)
    assert values["repair", -1, "return_value"]["ok"] is True
    assert values["verify", -1, "return_value"]["rows"] == 30
    assert values["fsck", -1, "return_value"]["removed_attempts"] == 0
    run_events = events.of_run(
        run.run_id,
        lambda seen: all(
            are(own(seen, task), (1, "running"), (1, "succeeded")) for task in ("repair", "verify", "fsck")
        ),
    )
    run_states = RunStates()
    for event in run_events:
        run_states.apply(event)
    (key,) = run_states.runs()
    headline = state_of_run(key, run_states.tasks(key)).headline
    assert headline.startswith(
        "maintenance: nothing to repair; 30 rows verified, of the newest version of each dataset; "
    )


def test_prune_keep_in_the_form_prunes_to_that_number_of_versions(run_dag: RunDag, name: str, store: Store) -> None:
    run = run_dag("maintain_store", dataset=name, prune_keep=1)
    assert task_states(run)["prune", -1] == "success"
    assert [version.rows for version in store.versions(name)] == [30]


def test_a_replica_missing_on_one_node_fails_the_verify_task(run_dag: RunDag, name: str, store: Store) -> None:
    ref = next(iter(store.dataset(name).refs()))
    query = "DELETE FROM {ks}.chunks WHERE dataset = ? AND attempt_id = ? AND bucket = ?"
    statement = store.cassandra.prepare(query).bind((ref.dataset, ref.attempt_id, ref.bucket))
    statement.consistency_level = NODE_LOCAL
    store.cassandra.execute(statement, host=store.cassandra.hosts()[0])
    run = run_dag("maintain_store", dataset=name, each_replica=True)
    assert task_states(run)["verify", -1] == "failed"
    store.delete(name, whole=True, now=True)


@pytest.mark.parametrize(
    ("conf", "reason"),
    [
        ({"prune_kep": 1}, "the run's conf has the unknown key 'prune_kep': did you mean 'prune_keep'?"),
        ({"dataset": "Not A Name"}, "'Not A Name' is not a dataset name"),
    ],
)
def test_a_wrong_conf_fails_the_first_task_with_a_clear_error_and_changes_nothing(
    run_dag: RunDag, name: str, store: Store, events: EventLog, conf: dict[str, Any], reason: str
) -> None:
    run = run_dag("maintain_store", **{"dataset": name, **conf})
    assert task_states(run)["repair", -1] == "failed"
    run_events = events.of_run(run.run_id, lambda seen: any(each["data"]["state"] == "failed" for each in seen))
    messages = [each["data"]["error"]["message"] for each in run_events if each["data"]["error"]]
    assert messages
    assert all(reason in message for message in messages)
    assert len(store.versions(name)) == 3
