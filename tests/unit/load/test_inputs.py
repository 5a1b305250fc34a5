"""Versions that are made from others: recorded, registered before they are visible, and never of a deleted input."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from millrace.api import Store
from millrace.errors import StoreUnavailableError, UsageError, VersionNotFoundError
from millrace.load import LoadOptions, LoadReport
from millrace.store.catalogue.catalogue_writer import CatalogueWriter
from millrace.store.catalogue.version import WITHDRAWN, Version
from tests.derived import made_from
from tests.unit.store.fakes import FakeCassandra, no_host

Csv = Callable[..., str]


@pytest.fixture
def flights(store: Store, csv: Csv) -> str:
    return f"flights@{store.load('flights', csv(3)).version}"


def publish(store: Store, path: str, inputs: dict[str, str], **options: dict[bytes, bytes]) -> LoadReport:
    plan = store.plan("late", path, one_stream=True)
    return store.publish(plan, [store.load_split(plan, None)], settings={"inputs": inputs}, **options)


def test_the_version_names_its_inputs_and_its_dataset_is_registered(
    store: Store, cassandra: FakeCassandra, flights: str, tmp_path: Path
) -> None:
    late = made_from(store, "late", tmp_path, "flights")
    assert store.version(late).inputs == {"flights": flights}
    assert (store.catalogue.derived_names(), store.catalogue.names()) == (["late"], ["flights", "late"])
    assert store.dataset(late).count_rows() == 3


def test_other_settings_are_stored(store: Store, csv: Csv, flights: str) -> None:
    plan = store.plan("late", csv(3), one_stream=True)
    result = store.load_split(plan, None)
    settings = {"inputs": {"data": flights}, "seed": 7}
    report = store.publish(plan, [result], settings=settings)
    version = store.version(f"late@{report.version}")
    assert (version.settings["seed"], version.inputs) == (7, {"data": flights})


def test_a_load_without_inputs_registers_nothing(store: Store, flights: str) -> None:
    assert store.catalogue.derived_names() == []
    assert store.version(flights).inputs == {}


def test_the_dataset_is_registered_before_the_version_is_visible(
    store: Store, csv: Csv, flights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    publishing, registered = CatalogueWriter.publish, []

    def watched(writer: CatalogueWriter, version: Version) -> int:
        registered.append(store.catalogue.derived_names())
        return publishing(writer, version)

    monkeypatch.setattr(CatalogueWriter, "publish", watched)
    publish(store, csv(3), {"data": flights})
    assert registered == [["late"]]


@pytest.mark.parametrize("reference", ["flights", "flights@1", "flights@latest", "flights@01-{hex}"])
def test_an_input_is_a_full_reference(store: Store, csv: Csv, flights: str, reference: str) -> None:
    with pytest.raises(UsageError, match=r"the input data of late is .* which is not a full version"):
        publish(store, csv(3), {"data": reference.format(hex=flights[-6:])})
    assert store.catalogue.versions("late") == []


def test_an_append_is_made_from_no_other_version(store: Store, csv: Csv, flights: str) -> None:
    plan = store.plan("late", csv(3), LoadOptions(mode="append"), one_stream=True)
    result = store.load_split(plan, None)
    with pytest.raises(UsageError, match="appends, and is made from other versions"):
        store.publish(plan, [result], settings={"inputs": {"data": flights}})
    assert store.catalogue.versions("late") == []


@pytest.mark.parametrize("now", [False, True])
def test_a_version_is_not_published_when_an_input_is_deleted(store: Store, csv: Csv, flights: str, now: bool) -> None:
    store.load("flights", csv(5))
    store.delete(flights, now=now)
    with pytest.raises(VersionNotFoundError, match=f"is made from {flights}, which is deleted: make it again"):
        publish(store, csv(3), {"data": flights})
    assert store.catalogue.all_versions("late").items == []


def test_an_input_that_never_was_is_refused(store: Store, csv: Csv) -> None:
    with pytest.raises(VersionNotFoundError, match="made from weather@1-abcdef, which is deleted"):
        publish(store, csv(3), {"data": "weather@1-abcdef"})


def test_a_version_whose_input_is_deleted_while_its_row_is_written_is_withdrawn(
    store: Store, csv: Csv, flights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    publishing = CatalogueWriter.publish

    def late(writer: CatalogueWriter, version: Version) -> int:
        store.delete(flights)
        return publishing(writer, version)

    monkeypatch.setattr(CatalogueWriter, "publish", late)
    with pytest.raises(VersionNotFoundError, match=f"is made from {flights}, which is deleted"):
        publish(store, csv(3), {"data": flights})
    assert [version.mark for version in store.catalogue.all_versions("late")] == [WITHDRAWN]


def test_an_input_that_only_a_node_that_is_down_has_may_be_there(
    store: Store, cassandra: FakeCassandra, csv: Csv, flights: str
) -> None:
    rows = cassandra.a.rows["versions"]
    for key in [key for key, (_, row) in rows.items() if row["dataset"] == "flights"]:
        del rows[key]
    plan = store.plan("late", csv(3), one_stream=True)
    result = store.load_split(plan, None)
    cassandra.unreachable[cassandra.b.address] = no_host(cassandra.b, OSError("down"))
    with pytest.raises(StoreUnavailableError, match="no node that responds has flights@1-"):
        store.publish(plan, [result], settings={"inputs": {"data": flights}})
    cassandra.unreachable.clear()
    assert store.catalogue.versions("late") == []


def test_publishing_the_same_plan_again_returns_the_same_version(store: Store, csv: Csv, flights: str) -> None:
    plan = store.plan("late", csv(3), one_stream=True)
    result = store.load_split(plan, None)
    reports = [store.publish(plan, [result], settings={"inputs": {"data": flights}}) for _ in range(2)]
    assert reports[0].version == reports[1].version
    assert len(store.catalogue.all_versions("late").items) == 1
