"""The work of each maintenance task of the store. The DAG defines the order; this module implements the tasks."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException

from millrace.airflow.reporter import step
from millrace.airflow.retry import names_retriable_error
from millrace.declarations import Declarations, read_sources, read_training, sources_path, training_path
from millrace.errors import ChunkError, ChunkMissingError
from millrace.settings import load_settings

if TYPE_CHECKING:
    from millrace.api import Store


_LISTED = 100

logger = logging.getLogger(__name__)


def repair(params: Mapping[str, Any]) -> dict[str, Any]:
    """Repair everything recorded as under-replicated; fail if something is still under-replicated afterwards."""
    with step("repair", dataset=params.get("dataset") or "") as (store, task):
        report = store.repair(params.get("dataset"), task=task)
        summary = _to_jsonable(report.to_json(), "problems")
        if not report.ok:
            first = report.problems[0]["message"] if report.problems else "see the log"
            raise ChunkMissingError(f"{report.summary}: {first}", hint="a node may be down: millrace doctor")
    return summary


def verify(params: Mapping[str, Any]) -> dict[str, Any]:
    """Read the newest version of each dataset again; fail at the end, with names, if a copy is wrong or missing."""
    sums = {"datasets": 0, "chunks": 0, "copies": 0, "rows": 0, "stored_bytes": 0, "bad_copies": 0}
    problems: list[dict[str, Any]] = []
    with step("verify", dataset=params.get("dataset") or "") as (store, task):
        for reference in _latest(store, params):
            verified = store.verify(reference, each_replica=bool(params.get("each_replica")), task=task)
            sums["datasets"] += 1
            for name in ("chunks", "copies", "rows", "stored_bytes", "bad_copies"):
                sums[name] += getattr(verified, name)
            problems += verified.problems
        if problems:
            for problem in problems[:_LISTED]:
                logger.error("%s", problem["message"])
            kind = ChunkMissingError if all(map(names_retriable_error, problems)) else ChunkError
            text = f"{sums['bad_copies']} copies are wrong or missing: {problems[0]['message']}"
            raise kind(text, hint="millrace repair")
        task.message(f"{sums['rows']:,} rows verified, of the newest version of each dataset")
    return sums


def prune(params: Mapping[str, Any]) -> dict[str, Any]:
    """Mark all but the newest versions as deleted, and the rejects of failed loads that are older than 90 days.

    A dataset is pruned before the datasets that it is made from, because a version keeps its inputs. The form gives the
    number of versions to keep for every dataset, else ``keep`` of the declared sources for theirs.
    Skip the task if the form names a dataset and neither gives a number for it.
    """
    dataset, keep = params.get("dataset"), params.get("prune_keep")
    declared = {} if keep else declared_keeps()
    if dataset and not keep and dataset not in declared:
        raise AirflowSkipException("neither the form nor a declared source gives a number of versions to keep")
    from millrace.store import Lineage

    marked: list[str] = []
    with step("maintain", dataset=dataset or "") as (store, task):
        names = [reference.partition("@")[0] for reference in _latest(store, params)]
        for name in Lineage.read(store.catalogue.reader.rows).derived_first(names):
            if versions := keep or declared.get(name):
                marked += store.prune(name, int(versions)).marked
        if not dataset:
            marked += store.prune_rejects().marked
        task.message(f"{len(marked):,} versions deleted" if marked else "no version to delete")
    return {"marked": marked[:_LISTED], "versions": len(marked)}


def declared_keeps() -> dict[str, int]:
    """Return the number of versions to keep of each dataset whose declarations give one; the largest counts.

    ``keep`` of training data also counts for its model. The numbers of a file do not count while one of its
    declarations is broken, because that one may keep more versions of one of these datasets.
    """
    from millrace.training import model_dataset

    settings = load_settings()
    sources = _entries(sources_path(settings), read_sources, "sources")
    training = _entries(training_path(settings), read_training, "training data")
    kept = {name: entry.keep for name, entry in training.items() if entry.keep}
    keeps = kept | {model_dataset(name): keep for name, keep in kept.items() if training[name].train}
    for entry in sources.values():
        if entry.keep:
            keeps[entry.dataset] = max(entry.keep, keeps.get(entry.dataset, 0))
    return keeps


def _entries(path: Path, read: Callable[[Path], Declarations[Any]], what: str) -> dict[str, Any]:
    if not path.exists():
        return {}
    declared = read(path)
    if errors := declared.errors:
        logger.warning("keep does not count until the declared %s are correct: %s", what, "; ".join(map(str, errors)))
        return {}
    return declared.entries


def fsck() -> dict[str, Any]:
    """Report data left behind by failed loads and deleted versions, and copies missing on nodes; remove nothing."""
    with step("maintain", dataset="") as (store, task):
        report = store.fsck()
        left, missing = len(report.garbage), len(report.missing)
        summary = (
            f"{left:,} failed attempts or deleted versions have data"
            if left
            else "no data of failed attempts or deleted versions"
        )
        task.message(f"{summary}, {missing:,} copies are missing" if missing else f"{summary}, no replica is missing")
        for item in [*report.garbage, *report.missing][:_LISTED]:
            logger.warning("%s", json.dumps(item, sort_keys=True))
        return _to_jsonable(report.to_json(), "garbage", "missing")


def _latest(store: Store, params: Mapping[str, Any]) -> list[str]:
    if params.get("dataset"):
        return [store.version(str(params["dataset"])).reference]
    return [f"{info.name}@{info.latest}" for info in store.datasets()]


def _to_jsonable(summary: dict[str, Any], *lists: str) -> dict[str, Any]:
    """Return the report with its lists truncated, so that the values passed between tasks stay small."""
    return dict(json.loads(json.dumps({**summary, **{name: summary[name][:_LISTED] for name in lists}}, default=str)))
