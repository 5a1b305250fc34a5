"""A time or number names the version that listings show with it; an ambiguous one is refused with all labels."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from millrace.api import Store
from millrace.errors import InvalidNameError, UsageError, VersionNotFoundError
from millrace.names.references import parse_reference
from millrace.store.catalogue.selection import select
from millrace.store.catalogue.version import Version
from tests.unit.store.fakes import FakeCassandra

Csv = Callable[..., str]
SHOWN = "2026-11-29T01:18:47"
Moments = Callable[..., list[str]]


@pytest.fixture
def published_at(store: Store, cassandra: FakeCassandra, csv: Csv) -> Moments:
    """Publish a version for each moment, of the numbers given or counted up; return their labels, oldest first."""

    def publish(*moments: str, numbers: tuple[int, ...] = ()) -> list[str]:
        for k, _ in enumerate(moments):
            store.load("d", csv(3, first=10 * k, name=f"{k}.csv"))
        for host in (cassandra.a, cassandra.b):
            for key, (stamp, row) in list(host.rows["versions"].items()):
                place = row["number"] - 1
                moment = datetime.fromisoformat(moments[place])
                changed: dict[str, Any] = {**row, "committed_at": moment}
                if numbers:
                    changed["number"] = numbers[place]
                version = Version.from_row("d", type("Row", (), changed))
                blobs = {"schema_blob": row["arrow_schema"], "pages_blob": row["pages"], "files_blob": row["files"]}
                changed["checksum"] = _with(version, blobs).compute_checksum()
                del host.rows["versions"][key]
                host.rows["versions"]["d", changed["number"], row["hex"]] = (stamp, changed)
        return [v.label for v in sorted(store.versions("d"), key=lambda v: v.committed_at)]

    return publish


def _with(version: Version, blobs: dict[str, bytes]) -> Version:
    from dataclasses import replace

    return replace(version, **blobs)


@pytest.mark.parametrize("written", [SHOWN, SHOWN.replace("T", " "), f"{SHOWN} UTC", f"{SHOWN}Z", f"{SHOWN}+00:00",
                                     "2026-11-29T02:18:47+01:00"])  # fmt: skip
def test_a_time_copied_from_a_listing_names_the_version_shown_with_it(
    store: Store, published_at: Moments, written: str
) -> None:
    labels = published_at("2026-11-29T01:18:46.900", f"{SHOWN}.640", "2026-11-29T01:18:48.001")
    assert store.version(f"d@{written}").label == labels[1]


@pytest.mark.parametrize(
    ("written", "place"),
    [
        ("2026-11-29T01:18:47.639", 0),
        ("2026-11-29T01:18:47.640", 1),
        ("2026-11-29T01:18:47,640", 1),
        ("2026-11-29T01:18:47.640+00:00", 1),
        ("2026-11-29T01:18:49", 1),
        ("2026-11-29T01:18:47.9", 1),
        ("2026-11-29T01:18:46", 0),
        ("2026-11-29T01:19", 1),
        ("2026-11-30", 1),
        ("9999-12-31T23:59:59", 1),
        ("9999-12-31T23:59:59-14:00", 1),
    ],
)
def test_a_time_between_two_versions_names_the_older_and_a_fraction_is_exact(
    store: Store, published_at: Moments, written: str, place: int
) -> None:
    labels = published_at("2026-11-29T01:18:46.900", f"{SHOWN}.640")
    assert store.version(f"d@{written}").label == labels[place]


@pytest.mark.parametrize("written", ["2026-11-29T01:18:45", "2026-11-29T01:18:46.899", "0001-01-01T00:00:00+14:00"])
def test_a_time_before_the_first_version_names_none(store: Store, published_at: Moments, written: str) -> None:
    published_at("2026-11-29T01:18:46.900")
    with pytest.raises(VersionNotFoundError, match="d has no version"):
        store.version(f"d@{written}")


@pytest.mark.parametrize("written", [SHOWN, f"{SHOWN}+00:00"])
def test_a_second_in_which_two_versions_were_published_is_refused_with_both(
    store: Store, published_at: Moments, written: str
) -> None:
    labels = published_at("2026-11-29T01:18:46", f"{SHOWN}.100", f"{SHOWN}.900")
    with pytest.raises(UsageError, match="names 2 versions") as caught:
        store.version(f"d@{written}")
    assert caught.value.hint == f"give one of them in full: d@{labels[2]}, d@{labels[1]}"
    assert store.version(f"d@{SHOWN}.899").label == labels[1]
    assert store.version("d@2026-11-29T01:18:48").label == labels[2]


def test_a_number_of_two_versions_is_refused_with_both_and_each_full_label_works(
    store: Store, published_at: Moments
) -> None:
    labels = published_at("2026-11-29T01:18:46", SHOWN, "2026-11-29T01:18:48", numbers=(1, 2, 2))
    with pytest.raises(UsageError, match="d@2 names 2 versions") as caught:
        store.version("d@2")
    assert sorted(caught.value.context["versions"]) == sorted(f"d@{label}" for label in labels[1:])
    for use in (store.dataset, store.delete, store.verify, store.warm):
        with pytest.raises(UsageError, match="d@2 names 2 versions"):
            use("d@2")
    for label in labels[1:]:
        assert store.version(f"d@{label}").label == label
    store.delete(f"d@{labels[1]}")
    assert store.version("d@2").label == labels[2]


def test_a_time_covers_a_whole_second_only_if_it_has_no_fraction() -> None:
    assert parse_reference(f"d@{SHOWN}")[1].precision == timedelta(seconds=1)
    for exact in (f"{SHOWN}.0", f"{SHOWN}.123+02:00", f"{SHOWN},5"):
        assert parse_reference(f"d@{exact}")[1].precision == timedelta(0)
    with pytest.raises(InvalidNameError):
        parse_reference("d@ UTC")


def version(label: str, parent: str | None, second: int, *, mode: str = "append", root: str = "1-a") -> Version:
    """Return a version of ``d`` that was committed at this second of the minute 10:00."""
    number, _, hexpart = label.partition("-")
    moment = datetime(2026, 11, 29, 10, 0, second, tzinfo=UTC)
    sums = {"attempts": 1, "rows": 3, "raw_bytes": 24, "stored_bytes": 24, "chunks": 1, "page_count": 1}
    return Version(
        "d", int(number), hexpart, parent, mode, "table", UUID(int=second), run=label, code="1", source={},
        settings={"root": label if mode == "replace" else root}, committed_at=moment, **sums,
    )  # fmt: skip


FIRST = version("1-a", None, 0, mode="replace")
APPENDED = version("2-z", "1-a", 10)
REPLACED = version("2-r", "1-a", 20, mode="replace")
KILLED = version("3-c", "2-z", 30)
"""An append that was planned before the ``replace``. Its load was killed before it could publish again."""
OVERTAKING = [APPENDED, REPLACED, version("3-c", "2-z", 15), version("4-d", "3-c", 40)]
"""An append whose parent has a higher number than the ``replace``."""


@pytest.mark.parametrize(
    ("versions", "time", "label"),
    [
        ([APPENDED, REPLACED, KILLED], "10:00:59", "2-r"),
        ([APPENDED, REPLACED, KILLED], "10:01", "2-r"),
        ([APPENDED, REPLACED, KILLED], "10:00:15", "2-z"),
        (OVERTAKING, "10:00:25", "2-r"),
        (OVERTAKING, "10:00:45", "4-d"),
        # The clock of the machine that published the append was behind.
        ([REPLACED, version("3-e", "2-r", 19, root="2-r")], "10:00:19.5", "3-e"),
    ],
)
def test_a_time_between_versions_names_the_latest_of_those_committed_before_it(
    versions: list[Version], time: str, label: str
) -> None:
    newest_first = sorted([FIRST, *versions], key=lambda v: (v.number, v.hex), reverse=True)
    match = select(newest_first, parse_reference(f"d@2026-11-29T{time}")[1])
    assert match is not None
    assert match.label == label


def test_the_time_listed_with_a_version_names_it_even_if_it_was_never_the_latest() -> None:
    assert select([KILLED, APPENDED, REPLACED, FIRST], parse_reference("d@2026-11-29T10:00:30")[1]) == KILLED
