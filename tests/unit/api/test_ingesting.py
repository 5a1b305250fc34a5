"""``Store.ingest`` loads a declared source as its DAG does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from millrace.api import Store
from millrace.errors import SourceFormatError, UsageError
from millrace.settings import Settings
from tests.unit.store.fakes import FakeCassandra
from tests.unit.store.in_memory import cassandra, csv, settings

__all__ = ["cassandra", "csv", "settings"]

DECLARED = """
sources:
  trips: {uri: data.csv, columns: [n]}
  daily: {uri: "{date:%Y-%m-%d}.csv", mode: replace}
"""


@pytest.fixture
def store(cassandra: FakeCassandra, settings: Settings, tmp_path: Path) -> Iterator[Store]:
    (tmp_path / "sources.yaml").write_text(DECLARED)
    sources = settings.sources.model_copy(update={"file": str(tmp_path / "sources.yaml"), "roots": (str(tmp_path),)})
    with Store(cassandra, settings.model_copy(update={"sources": sources})) as opened:
        yield opened


def test_the_options_are_those_of_the_entry(store: Store, csv: Callable[..., str]) -> None:
    csv(10)
    report = store.ingest("trips", run="by hand")
    assert (report.dataset, report.rows, report.run, report.skipped) == ("trips", 10, "by hand", "")
    assert store.dataset("trips").schema.names == ["n"]


def test_the_date_is_the_given_one(store: Store, csv: Callable[..., str]) -> None:
    csv(5, name="2026-11-28.csv")
    assert store.ingest("daily", logical_date=datetime(2026, 11, 28, tzinfo=UTC)).rows == 5


def test_an_unknown_source_names_the_nearest_one(store: Store) -> None:
    with pytest.raises(UsageError, match="did you mean trips"):
        store.ingest("trip")


def test_an_error_names_the_fields_of_the_entry(store: Store, csv: Callable[..., str]) -> None:
    Path(csv(5, name="2026-11-28.csv")).write_text("n,s\n1,x\n2\n")
    with pytest.raises(SourceFormatError) as refused:
        store.ingest("daily", logical_date=datetime(2026, 11, 28, tzinfo=UTC))
    assert str(refused.value).endswith('correct that line, or check "delimiter"')


def test_an_unchanged_source_makes_no_version_unless_the_load_is_forced(store: Store, csv: Callable[..., str]) -> None:
    csv(10)
    first = store.ingest("trips")
    report = store.ingest("trips", run="second")
    assert (report.version, report.skipped, report.run) == (first.version, "unchanged", "second")
    assert (report.rows, report.total_rows, report.chunks) == (0, 10, 0)
    assert len(store.versions("trips")) == 1
    assert store.ingest("trips", force=True).skipped == ""
    assert len(store.versions("trips")) == 2
