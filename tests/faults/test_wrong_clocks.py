"""Faults of a machine with a wrong clock."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest

from local_stack.stack import Stack
from millrace.api import Store
from millrace.settings import Settings
from millrace.store import AttemptRole
from millrace.store.cluster.session import CassandraSession
from tests.faults.checker import Expected
from tests.faults.conftest import Judge
from tests.faults.loads import APPEND, SMALL

HOUR_S = 3600


@contextmanager
def with_clock(settings: Settings, shift: timedelta, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """Connect a store of a machine whose clock is wrong, in the driver and in every module that reads the time."""
    shift_s = shift.total_seconds()

    class Wrong(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) + shift

    class WrongTime:
        """The module ``time``, shifted."""

        def __getattr__(self, name: str) -> Any:
            return getattr(time, name)

        def time(self) -> float:
            return time.time() + shift_s

    asked = []
    with monkeypatch.context() as patch:
        for name, module in list(sys.modules.items()):
            if not name.startswith(("millrace.load.", "millrace.store.")):
                continue
            for clock, right, wrong in (("datetime", datetime, Wrong), ("time", time, WrongTime())):
                if getattr(module, clock, None) is right:
                    patch.setattr(module, clock, wrong)
                    asked.append(name.removeprefix("millrace."))
        # The modules are found by search, so that none is forgotten; these at least are known to write times.
        known = {"load.version_row", "load.merge", "store.deletion.sweep", "store.deletion.undelete"}
        assert known | {"store.cluster.write_times", "store.catalogue.catalogue_writer"} <= set(asked)
        cassandra = CassandraSession.connect(
            settings.cassandra, timestamp_generator=lambda: int((time.time() + shift_s) * 1_000_000)
        )
        with Store(cassandra, settings) as store:
            yield store


def tag_is_off(store: Store, name: str, tag: str) -> bool:
    """Return whether the tag's write time is far from now."""
    query = "SELECT WRITETIME(number) AS at FROM {ks}.tags WHERE dataset = ? AND tag = ?"
    (row,) = store.cassandra.execute(store.cassandra.prepare(query).bind((name, tag)))
    return bool(abs(time.time() - row.at / 1_000_000) > 0.8 * HOUR_S)


@pytest.mark.parametrize("hours", [-1, 1], ids=["behind", "ahead"])
def test_data_written_with_a_clock_an_hour_off_is_read_appended_to_and_deleted_normally(
    both_up: Stack,
    store: Store,
    settings: Settings,
    parquet: Any,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    judge: Judge,
    hours: int,
) -> None:
    source, table = parquet(3_000)
    more, more_table = parquet(1_000, seed=5)
    both = pa.concat_tables([table, more_table]).combine_chunks()
    shift = timedelta(hours=hours)
    first = store.load(name, source, SMALL)
    gone = store.load(f"{name}_gone", source, SMALL)
    assert chunks_of(store, gone.version, f"{name}_gone") > 0
    with with_clock(settings, shift, monkeypatch) as skewed:
        second = skewed.load(name, more, APPEND)
        skewed.tag(f"{name}@{second.version}", "moved")
        off = [tag_is_off(store, name, "moved")]
        other = skewed.load(f"{name}_other", source, SMALL)
        (began,) = [
            row
            for row in skewed.catalogue.attempts(name)
            if (row.version, row.role) == (second.version, AttemptRole.SOURCE)
        ]
        # A delete with a wrong clock removes data written with a right one.
        skewed.delete(f"{name}_gone", whole=True, now=True)
    off.append(abs(datetime.now(UTC) - began.started) > 0.8 * timedelta(hours=1))
    third = store.load(name, more, APPEND)
    # Versions are ordered by number, independent of the clocks; the last move of a tag wins.
    assert [version.label for version in store.versions(name)] == [each.version for each in (third, second, first)]
    assert store.version(f"{name}@moved").label == second.version
    store.tag(f"{name}@{first.version}", "moved")
    assert store.version(f"{name}@moved").label == first.version
    with with_clock(settings, shift, monkeypatch) as skewed:
        skewed.tag(f"{name}@{second.version}", "moved")
        assert store.version(f"{name}@moved").label == second.version
        skewed.untag(name, "moved")
    assert store.tags(name) == {}
    # A tag removed with a clock that is ahead can be set again at once.
    store.tag(f"{name}@{second.version}", "moved")
    assert store.tags(name) == {"moved": second.version}
    tables = {first.version: table, second.version: both, third.version: pa.concat_tables([both, more_table])}
    # Data written with a clock that is ahead can be deleted, and its name can be used again.
    assert chunks_of(store, other.version, f"{name}_other") > 0
    store.delete(f"{name}_other", whole=True, now=True)
    assert chunks_of(store, other.version, f"{name}_other") == 0
    assert chunks_of(store, gone.version, f"{name}_gone") == 0
    reloaded = {each: store.load(each, more, SMALL).version for each in (f"{name}_other", f"{name}_gone")}
    judge(
        {
            name: Expected(
                {label: version_table.combine_chunks() for label, version_table in tables.items()},
                latest=third.version,
                tags={"moved": second.version},
            ),
            **{each: Expected({label: more_table}, latest=label) for each, label in reloaded.items()},
        },
        fired=all(off),
    )


def chunks_of(store: Store, label: str, name: str) -> int:
    """Return the number of stored pages of the writers of this version."""
    return sum(
        len(store.catalogue.pages.finished(name, row.attempt_id))
        for row in store.catalogue.attempts(name)
        if row.version == label
    )
