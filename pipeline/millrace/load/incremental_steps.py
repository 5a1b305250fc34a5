"""Read and write the stages of incremental versions in the catalogue.

An incremental version is confirmed when the row of its publisher in ``attempts`` is finished.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from millrace.load.incremental_protocol import Candidate, LoadKey, Stage
from millrace.load.version_row import CatalogueSteps
from millrace.store import RESTORED, AttemptRole, LoadAttempt, Version, VersionGraph

_ABANDONED_AFTER: Final = timedelta(minutes=15)
"""Age of ``last_seen`` after which a load is taken to be killed. A load confirms its version within seconds."""


class IncrementalSteps(CatalogueSteps):
    """Steps of ``confirm`` on the catalogue of one dataset, and the reads that a merge shares with it."""

    def candidates(self, versions: Sequence[Version], graph: VersionGraph) -> list[Candidate]:
        """Read the stages and the files of these versions.

        Of the publisher of a version without a row in ``attempts`` nothing is known, so it counts as confirmed.
        """
        attempts = {row.attempt_id: row for row in self.catalogue.attempts(self.dataset)}
        runs = {version.label: version.run for version in graph.versions}
        by_hand = {_key(version.label, runs) for version in graph.versions if version.mode != "incremental"}
        candidates = []
        for version in versions:
            files: dict[str, set[LoadKey]] = {}
            # Most versions have no rivals, and their files are then not compared.
            content = self.catalogue.with_content(version) if len(versions) > 1 else None
            for file in self.catalogue.pages.files(content) if content is not None else ():
                files.setdefault(file.uri, set()).add(_key(file.added_by, runs))
            candidates.append(Candidate(version, _stage(version, attempts.get(version.attempt_id)), files, by_hand))
        return candidates

    def begin_again(self, version: Version) -> None:
        """Record that the load of an abandoned version runs again."""
        self.catalogue_writer.heartbeat(_publisher_row(version), buckets=0, finished=False)

    def confirm(self, version: Version) -> None:
        """Record that the version is confirmed."""
        self.catalogue_writer.heartbeat(_publisher_row(version), buckets=0, finished=True)


def _stage(version: Version, row: LoadAttempt | None) -> Stage:
    if version.mode != "incremental" or version.mark == RESTORED or row is None or row.finished:
        return Stage.CONFIRMED
    age = datetime.now(UTC) - (row.last_seen or row.started)
    return Stage.ABANDONED if age > _ABANDONED_AFTER else Stage.WRITTEN


def _key(label: str, runs: dict[str, str]) -> LoadKey:
    return label.partition("-")[2], runs.get(label, label)


def _publisher_row(version: Version) -> LoadAttempt:
    return LoadAttempt(
        version.dataset,
        version.attempt_id,
        version.run,
        str(version.settings["fingerprint"]),
        AttemptRole.PUBLISHER,
        1,
        version.label,
        "",
        version.committed_at,
    )
