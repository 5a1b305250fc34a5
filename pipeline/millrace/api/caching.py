"""Put versions into Redis and remove them from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from millrace.api.cache_removal import remove_deleted
from millrace.api.reading import Reading
from millrace.cache import Form
from millrace.dataset import WarmOptions, WarmReport, warm
from millrace.errors import CacheError, InvalidSettingError, MillraceError
from millrace.progress import ProgressTask, null_task

JOBS_MIN = 2
"""How many jobs must have opened a version in the last 7 days so that ``warm_opened`` warms it."""


@dataclass(slots=True)
class WarmedVersions:
    """Result of ``warm_opened``: the report of each warmed version, and the versions that exceed the budget."""

    warmed: list[WarmReport] = field(default_factory=list)
    over_budget: list[str] = field(default_factory=list)
    reason: str = ""
    """Why nothing could be warmed; empty if it could."""

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON-compatible values."""
        return {
            "warmed": [report.to_json() for report in self.warmed],
            "over_budget": self.over_budget,
            "reason": self.reason,
        }


class Caching(Reading):
    """The part of ``Store`` that fills the cache."""

    def warm(
        self,
        reference: str,
        *,
        split: str | None = None,
        columns: Sequence[str] | None = None,
        form: str | None = None,
        task: ProgressTask | None = None,
    ) -> WarmReport:
        """Put a version into Redis, or only a split of it, or some columns; chunks that are there already stay.

        ``form`` is ``"stored"``, ``"raw"`` or None, which chooses it by the free memory and the compression ratio. If
        not all chunks fit, other versions that no job has pinned are evicted. If that is not enough, the first chunks
        that fit are cached.

        Never raises because of Redis. The report then gives the reason, and reads use Cassandra. Raises ``UsageError``
        for an unknown split or column, and for ``columns`` in the stored form.
        """
        options = WarmOptions(split, None if columns is None else tuple(columns), _form(form))
        dataset = self.dataset(reference)
        remove_deleted(self, self._cached_datasets())
        return warm(
            dataset,
            self.chunk_reader,
            self.cache,
            switched_off=self.settings.redis.switched_off,
            task=task or null_task(),
            options=options,
        )

    def warm_opened(self, budget_bytes: int, *, task: ProgressTask | None = None) -> WarmedVersions:
        """Warm the versions that at least two jobs opened in the last 7 days, those of most jobs first.

        ``budget_bytes`` limits the stored bytes of these versions together, whether they are cached already or not.
        A version that would exceed it is left out. The uses are those in the ledger of the cache, so they are lost
        with it.
        """
        result, left_bytes = WarmedVersions(), budget_bytes
        for name in self._opened_names(result):
            try:
                version = self.version(name)
            except MillraceError as error:
                if error.retriable:
                    raise
                continue  # deleted meanwhile
            if version.stored_bytes > left_bytes:
                result.over_budget.append(name)
                continue
            left_bytes -= version.stored_bytes
            result.warmed.append(self.warm(name, task=task))
        return result

    def _opened_names(self, result: WarmedVersions) -> list[str]:
        if self.cache is None:
            result.reason = f"no cache is configured ({self.settings.redis.switched_off})"
            return []
        try:
            uses = self.cache.uses()
        except CacheError as error:
            result.reason = error.message
            return []
        names = [name for name, jobs in uses.items() if len(jobs) >= JOBS_MIN]
        return sorted(names, key=lambda name: (-len(uses[name]), name))

    def _cached_datasets(self) -> list[str]:
        try:
            return [] if self.cache is None else sorted({part.dataset for part in self.cache.parts()})
        except CacheError:
            return []


def _form(name: str | None) -> Form | None:
    if name is None:
        return None
    try:
        return Form(name)
    except ValueError:
        raise InvalidSettingError(f"{name!r} is not a form", hint=f"use {' or '.join(Form)}") from None
