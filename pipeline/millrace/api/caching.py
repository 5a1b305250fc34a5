"""Put versions into Redis and remove them from it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from millrace.api.cache_removal import remove_deleted
from millrace.api.reading import Reading
from millrace.cache import Form
from millrace.dataset import WarmOptions, WarmReport, warm
from millrace.errors import CacheError, DatasetNotFoundError, InvalidSettingError, VersionNotFoundError
from millrace.progress import ProgressTask, null_task
from millrace.store import Version

if TYPE_CHECKING:
    from millrace.cache import ChunkCache

JOBS_MIN = 2
"""How many jobs must have opened a version in the last 7 days so that ``warm_opened`` warms it."""


@dataclass(slots=True)
class WarmedVersions:
    """Result of ``warm_opened``: the report of each warmed version, and the versions that exceed the budget."""

    warmed: list[WarmReport] = field(default_factory=list)
    over_budget: list[str] = field(default_factory=list)
    reason: str = ""
    """Why nothing could be warmed; empty if it could."""

    @property
    def summary(self) -> str:
        """Return the result as one line for users."""
        if self.reason:
            return f"no version was warmed: {self.reason}"
        complete = sum(report.complete for report in self.warmed)
        parts = [f"{complete:,} versions are in Redis"]
        if partly := len(self.warmed) - complete:
            parts.append(f"{partly:,} do not fit")
        if self.over_budget:
            parts.append(f"{len(self.over_budget):,} exceed the budget")
        return ", ".join(parts)

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
        version = self.version(reference)
        remove_deleted(self, self._cached_datasets())
        return self._warm(version, options, task or null_task())

    def _warm(self, version: Version, options: WarmOptions, task: ProgressTask) -> WarmReport:
        switched_off = self.settings.redis.switched_off
        dataset = self.dataset(version.reference)
        return warm(dataset, self.chunk_reader, self.cache, switched_off=switched_off, task=task, options=options)

    def warm_opened(self, budget_bytes: int, *, task: ProgressTask | None = None) -> WarmedVersions:
        """Warm the versions that at least two jobs opened in the last 7 days, those of most jobs first.

        ``budget_bytes`` limits the bytes of these versions together, in the form in which they are cached. A version
        that would exceed it is left out. None of them is evicted for the next one. The uses are those in the ledger of
        the cache, so they are lost with it.
        """
        result, task = WarmedVersions(), task or null_task()
        if self.cache is None:
            result.reason = f"no cache is configured ({self.settings.redis.switched_off})"
            return result
        try:
            uses = self.cache.uses()
        except CacheError as error:
            result.reason = error.message
            return result
        remove_deleted(self, self._cached_datasets())
        names = [name for name, jobs in uses.items() if len(jobs) >= JOBS_MIN]
        with ExitStack() as pins:
            for name in sorted(names, key=lambda name: (-len(uses[name]), name)):
                if (version := self._still_visible(name)) is not None:
                    budget_bytes -= self._warm_within(version, budget_bytes, self.cache, pins, result, task)
        task.message(result.summary)
        return result

    def _still_visible(self, name: str) -> Version | None:
        try:
            return self.version(name)
        except (DatasetNotFoundError, VersionNotFoundError):
            return None

    def _warm_within(
        self,
        version: Version,
        budget_bytes: int,
        cache: ChunkCache,
        pins: ExitStack,
        result: WarmedVersions,
        task: ProgressTask,
    ) -> int:
        """Warm a version if it is within the budget, and pin it; return the bytes that it takes of the budget."""
        sizes = {Form.RAW: version.raw_bytes, Form.STORED: version.stored_bytes}
        cached = cache.forms(version.dataset, version.label).of_version
        forms = [form for form in cached or sizes if sizes[form] <= budget_bytes]
        if not forms:
            result.over_budget.append(version.reference)
            return 0
        pins.enter_context(cache.pin(version.dataset, version.label))
        report = self._warm(version, WarmOptions(form=forms[0] if len(forms) == 1 else None), task)
        result.warmed.append(report)
        return int(sizes[Form(report.form)] * report.share) if report.form else 0

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
