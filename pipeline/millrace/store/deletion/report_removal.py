"""Remove the reports of the runs of a deleted dataset."""

from __future__ import annotations

from datetime import UTC

from millrace.store.catalogue.version_rows import read_versions
from millrace.store.deletion.all_replicas import AllReplicas


def remove_reports(replicas: AllReplicas, dataset: str) -> int:
    """Remove the reports of a dataset whose versions are all emptied, and return their number.

    Reports of runs that started after its last deletion stay, such as those of failed runs. The rows are read and
    removed at ``ALL``. The row in ``dataset_runs`` is removed last, so that an interrupted removal is found again.
    """
    versions = read_versions(replicas.rows, dataset).items
    if not versions or any(version.purged_at is None for version in versions):
        return 0
    last = max(version.deleted_at for version in versions if version.deleted_at is not None)
    runs = replicas.rows("SELECT started, run FROM {ks}.dataset_runs WHERE dataset = ?", (dataset,))
    removed = [row for row in runs if row.started.replace(tzinfo=UTC) <= last]
    for row in removed:
        # A run of the same name may have loaded another dataset since.
        owners = replicas.rows("SELECT dataset FROM {ks}.reports WHERE run = ?", (row.run,))
        if any(owner.dataset == dataset for owner in owners):
            replicas.execute("DELETE FROM {ks}.reports WHERE run = ?", (row.run,))
        query = "DELETE FROM {ks}.dataset_runs WHERE dataset = ? AND started = ? AND run = ?"
        replicas.execute(query, (dataset, row.started, row.run))
    return len(removed)
