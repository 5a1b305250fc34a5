"""Load declared sources."""

from __future__ import annotations

from datetime import datetime

from millrace.api.caching import Caching
from millrace.api.loading import Loading
from millrace.declarations import ENTRY_TITLES, declared_load, find_source, in_field_words
from millrace.load import LoadReport
from millrace.progress import ProgressTask


class Ingesting(Loading, Caching):
    """The part of ``Store`` that loads declared sources."""

    def ingest(
        self,
        name: str,
        *,
        logical_date: datetime | None = None,
        force: bool = False,
        run: str | None = None,
        task: ProgressTask | None = None,
    ) -> LoadReport:
        """Load the declared source ``name``, with the same result as its DAG.

        ``logical_date`` is the time for dates in its URI, by default now. An unchanged source makes no version, and the
        report then has ``skipped``; with ``force`` it is loaded in any case. Raises ``UsageError`` with the nearest
        names for an unknown source, ``DeclarationError`` for a broken one, and the errors of ``load``.
        """
        entry = find_source(name, self.settings)
        load = declared_load(entry, self.settings, logical_date=logical_date, force=force)
        with in_field_words(ENTRY_TITLES, is_airflow=False):
            report = self.load(load.dataset, load.source, load.options, run=run, task=task)
        if load.warm and not report.skipped and self.cache is not None:
            self.warm(f"{report.dataset}@{report.version}")
        return report
