"""The graph of versions that were made from others: orders of deletion and pruning, text and JSON."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest

from millrace.store import Lineage, LineageGraph, Version
from millrace.store.catalogue.version import WITHDRAWN

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)


def version(reference: str, *inputs: str) -> Version:
    name, _, label = reference.partition("@")
    return Version(
        dataset=name,
        number=int(label),
        hex="aaaaaa",
        parent=None,
        mode="replace",
        kind="table",
        attempt_id=UUID(int=1),
        attempts=1,
        run="run",
        code="1",
        rows=7,
        raw_bytes=1,
        stored_bytes=1,
        chunks=1,
        page_count=1,
        source={},
        settings={"inputs": {key.partition("@")[0]: f"{key}-aaaaaa" for key in inputs}} if inputs else {},
        committed_at=NOW,
    )


RAW = [version("flights@1"), version("flights@2"), version("weather@1")]
DERIVED = [
    version("late@1", "flights@1", "weather@1"),
    version("late@2", "flights@2", "weather@1"),
    version("late_model@1", "late@1"),
    version("late_model@2", "late@2", "late_model@1"),
    version("both@1", "late@2", "weather@1"),
]
LINEAGE = Lineage([*RAW, *DERIVED])


def names(versions: list[Version]) -> list[str]:
    return [f"{v.dataset}@{v.number}" for v in versions]


def test_a_version_names_its_inputs() -> None:
    assert RAW[0].inputs == {}
    assert DERIVED[0].inputs == {"flights": "flights@1-aaaaaa", "weather": "weather@1-aaaaaa"}


def test_everything_that_was_made_from_a_version_is_found_once_and_the_nearest_first() -> None:
    assert names(LINEAGE.made_into("flights@1-aaaaaa")) == ["late@1"]
    assert names(LINEAGE.derived(["flights@1-aaaaaa"])) == ["late@1", "late_model@1", "late_model@2"]
    assert names(LINEAGE.derived(["weather@1-aaaaaa"])) == [
        "late@1", "late@2", "both@1", "late_model@1", "late_model@2",
    ]  # fmt: skip
    assert names(LINEAGE.derived(["late_model@2-aaaaaa"])) == []
    assert LINEAGE.derived([]) == []


def test_versions_that_were_asked_for_are_not_derived_from_each_other() -> None:
    found = LINEAGE.derived(["late@2-aaaaaa", "late_model@1-aaaaaa", "late_model@2-aaaaaa"])
    assert names(found) == ["both@1"]


def test_deleted_versions_keep_no_input() -> None:
    deleted = [replace(v, deleted_at=NOW) if v.dataset == "late_model" else v for v in DERIVED]
    assert names(Lineage(deleted).derived(["late@1-aaaaaa"])) == []


def test_each_layer_of_a_deletion_comes_before_its_inputs() -> None:
    layers = LINEAGE.layers([*RAW, *DERIVED])
    assert [names(layer) for layer in layers] == [
        ["late_model@2", "both@1"], ["late@2", "late_model@1"], ["flights@2", "late@1"], ["flights@1", "weather@1"],
    ]  # fmt: skip
    assert LINEAGE.layers([]) == []


def test_versions_that_name_each_other_are_one_layer() -> None:
    circle = [version("a@1", "b@1"), version("b@1", "a@1")]
    assert [names(layer) for layer in Lineage(circle).layers(circle)] == [["a@1", "b@1"]]
    assert names(Lineage(circle).derived(["a@1-aaaaaa"])) == ["b@1"]


@pytest.mark.parametrize(
    ("asked", "free"),
    [
        (["flights@1", "flights@2"], []),
        (["late@1", "flights@1"], []),
        (
            ["late_model@2", "late_model@1", "late@1", "flights@1", "flights@2"],
            ["late_model@2", "late_model@1", "late@1", "flights@1"],
        ),
        (["late_model@1"], []),
    ],
)  # fmt: skip
def test_free_versions_are_those_that_no_version_outside_needs(asked: list[str], free: list[str]) -> None:
    every = {f"{v.dataset}@{v.number}": v for v in [*RAW, *DERIVED]}
    assert names(LINEAGE.free([every[name] for name in asked])) == free


def test_datasets_are_pruned_before_their_inputs() -> None:
    assert LINEAGE.derived_first(["both", "flights", "late", "late_model", "other", "weather"]) == [
        "both", "late_model", "late", "flights", "other", "weather",
    ]  # fmt: skip
    assert LINEAGE.derived_first(["weather", "late"]) == ["late", "weather"]
    assert Lineage([]).derived_first(["b", "a"]) == ["b", "a"]


def test_the_inputs_of_visible_versions_are_found_by_dataset() -> None:
    assert LINEAGE.inputs_of("flights") == {(1, "aaaaaa"), (2, "aaaaaa")}
    assert LINEAGE.inputs_of("both") == set()


def graph(*changed: Version | None) -> LineageGraph:
    versions: dict[str, Version | None] = {v.reference: v for v in [*RAW, *DERIVED]}
    for v in changed:
        if v is not None:
            versions[v.reference] = v
    return LineageGraph("late@2-aaaaaa", versions)


def test_the_text_is_two_trees_in_which_a_version_that_occurs_again_has_no_second_tree() -> None:
    assert graph().text() == "\n".join(
        [
            "late@2-aaaaaa",
            "├─ made from",
            "│  ├─ flights@2-aaaaaa as flights",
            "│  └─ weather@1-aaaaaa as weather",
            "└─ made into",
            "   ├─ both@1-aaaaaa",
            "   └─ late_model@2-aaaaaa",
        ]
    )
    weather = replace(graph(), reference="weather@1-aaaaaa")
    assert weather.text() == "\n".join(
        [
            "weather@1-aaaaaa",
            "├─ made from: nothing",
            "└─ made into",
            "   ├─ both@1-aaaaaa",
            "   ├─ late@2-aaaaaa",
            "   │  ├─ both@1-aaaaaa",
            "   │  └─ late_model@2-aaaaaa",
            "   └─ late@1-aaaaaa",
            "      └─ late_model@1-aaaaaa",
            "         └─ late_model@2-aaaaaa",
        ]
    )


def test_inputs_that_are_not_visible_have_their_state() -> None:
    deleted = replace(RAW[1], deleted_at=NOW)
    shown = graph(deleted, replace(RAW[2], deleted_at=NOW, purged_at=NOW))
    assert "flights@2-aaaaaa as flights, deleted" in shown.text()
    assert "weather@1-aaaaaa as weather, removed" in shown.text()
    assert graph(replace(deleted, mark=WITHDRAWN)).state("flights@2-aaaaaa") == "withdrawn"
    assert graph().state("never@1-aaaaaa") == "removed"


def test_the_json_has_every_version_with_its_inputs() -> None:
    document = graph().to_json()
    assert document["version"] == "late@2-aaaaaa"
    assert document["made_from"] == {"flights": "flights@2-aaaaaa", "weather": "weather@1-aaaaaa"}
    assert document["made_into"] == ["both@1-aaaaaa", "late_model@2-aaaaaa"]
    assert document["versions"]["late_model@2-aaaaaa"] == {
        "state": "visible",
        "inputs": {"late": "late@2-aaaaaa", "late_model": "late_model@1-aaaaaa"},
        "rows": 7,
        "committed_at": "2026-11-22T10:00:00+00:00",
    }
