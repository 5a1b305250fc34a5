"""The DAGs of an entry of the training file, which its rendered file defines; parsing opens no connection."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow.sdk import DAG, Asset, AssetAll, AssetAny

from millrace.airflow import TAG
from millrace.airflow.lateness import cron
from millrace.airflow.prepare import Choice
from millrace.airflow.prepare_tasks import DOC, prepare_tasks
from millrace.airflow.retry import task_defaults
from millrace.airflow.train import Training
from millrace.airflow.train_tasks import DOC as TRAIN_DOC
from millrace.airflow.train_tasks import train_task
from millrace.declarations import TrainingEntry, training_path
from millrace.settings import load_settings

_DOC = """
{description}

This DAG belongs to the entry `{name}` of the file of declared training data:

```yaml
{fields}
```

Inputs and a declaration that are unchanged since the latest version make no version: *prepare*, *verify* and *warm* are
skipped, and the report has `"skipped": "unchanged"`. `millrace prepare {name} --force` makes one in any case. While an
input does not exist, the run is skipped. Change the entry to change the DAG.
"""
_TRAIN_DOC = """
{description}

The function `{train}` is named by the entry `{name}` of the file of declared training data.
"""


@dataclass(frozen=True, slots=True)
class EntryRequest:
    """The request of a run of an entry's DAG."""

    dataset: str
    entry: TrainingEntry

    @property
    def warm(self) -> bool:
        """Whether the new version is put into Redis."""
        return self.entry.warm

    @property
    def waits_for_inputs(self) -> bool:
        """True: the first version of an input starts a run of this DAG again."""
        return True

    def choice(self) -> Choice:
        """Return the entry, with the newest versions of its inputs."""
        return Choice(self.entry)


def training_dags(name: str, values: Mapping[str, Any]) -> DAG:
    """Define the DAG ``prepare_NAME`` of an entry with these fields, and ``train_NAME`` if it names a function."""
    entry = _entry(name, values)
    if entry.train:
        _train_dag(name, entry)
    with DAG(
        dag_id=f"prepare_{name}",
        dag_display_name=f"Prepare {name}",
        description=_description(name, entry),
        doc_md=_documentation(name, entry, values),
        tags=[TAG, "prepare", *entry.tags],
        schedule=_schedule(entry),
        catchup=False,
        is_paused_upon_creation=False,
        max_active_runs=1,
        default_args=task_defaults(entry.owner or "millrace"),
    ) as dag:
        prepare_tasks(lambda _context: EntryRequest(name, entry))
    return dag


def _entry(name: str, values: Mapping[str, Any]) -> TrainingEntry:
    # The fields were checked when the file was rendered. A query_file is below the folder of the YAML file.
    context = {"name": name, "is_checked": True, "folder": training_path(load_settings()).absolute().parent}
    return TrainingEntry.model_validate(values, context=context)


def _train_dag(name: str, entry: TrainingEntry) -> DAG:
    description = f"Train a model on {name} by {entry.train}: after {name}."
    with DAG(
        dag_id=f"train_{name}",
        dag_display_name=f"Train on {name}",
        description=description,
        doc_md=_TRAIN_DOC.format(description=description, train=entry.train, name=name).lstrip() + TRAIN_DOC,
        tags=[TAG, "train", *entry.tags],
        schedule=[_asset(name)],
        catchup=False,
        is_paused_upon_creation=False,
        max_active_runs=1,
        default_args=task_defaults(entry.owner or "millrace"),
    ) as dag:
        train_task(lambda _context: Training(name))
    return dag


def _schedule(entry: TrainingEntry) -> Any:
    if entry.cron:
        return cron(entry.cron, entry.timezone)
    inputs = map(_asset, entry.datasets)
    return AssetAll(*inputs) if entry.schedule == "all" else AssetAny(*inputs)


def _asset(dataset: str) -> Any:
    # By name, because the URI of a dataset's asset contains the name of the cluster, which parsing must not ask for.
    return Asset.ref(name=f"dataset/{dataset}")


def _description(name: str, entry: TrainingEntry) -> str:
    return f"Prepare {name} from {', '.join(entry.datasets)}: {entry.schedule_in_words()}."


def _documentation(name: str, entry: TrainingEntry, values: Mapping[str, Any]) -> str:
    fields = "\n".join(f"{field}: {json.dumps(value, ensure_ascii=False)}" for field, value in values.items())
    return _DOC.format(description=_description(name, entry), name=name, fields=fields).lstrip() + DOC
