"""A plan names exact versions, and tells whether there is anything to prepare."""

from __future__ import annotations

import json

import pytest

from millrace.api import Store
from millrace.errors import DatasetNotFoundError, UsageError, VersionNotFoundError
from millrace.training.prepare import CutSplits, Expectations, HashSplits, Preparation, PreparePlan, make_prepare_plan
from tests.unit.training.prepare.trips import late_trips, trips


def plan(store: Store, preparation: Preparation, **options: object) -> PreparePlan:
    return make_prepare_plan(store.catalogue, preparation, run="run", **options)  # type: ignore[arg-type]


def test_the_inputs_are_exact_versions(loaded: Store) -> None:
    made = plan(loaded, late_trips())
    assert made.inputs == {
        "trips": loaded.version("trips").reference,
        "weather": loaded.version("weather").reference,
    }
    assert not made.is_done
    assert made.label.startswith("1-")


def test_an_input_may_be_a_tag_a_number_or_a_version_of_the_call(loaded: Store) -> None:
    loaded.tag("trips@1", "gold")
    loaded.load("trips", trips(700))
    first, second = loaded.version("trips@1").reference, loaded.version("trips@2").reference
    inputs = {"trips": "trips@gold", "weather": "weather"}
    assert plan(loaded, late_trips(inputs=inputs)).inputs["trips"] == first
    assert plan(loaded, late_trips(), versions={"trips": "1"}).inputs["trips"] == first
    assert plan(loaded, late_trips(), versions={"trips": "trips@gold"}).inputs["trips"] == first
    assert plan(loaded, late_trips()).inputs["trips"] == second


@pytest.mark.parametrize(
    "change",
    [
        {"query": late_trips().query + " WHERE t.distance > 0"},
        {"seed": 1},
        {"target": "delay > 20"},
        {"splits": HashSplits({"train": 0.7, "val": 0.1, "test": 0.2})},
        {"splits": HashSplits({"val": 0.2, "train": 0.6, "test": 0.2})},
        {"splits": CutSplits({"train": "< 2026-03-01T04:00", "val": "rest"})},
        {"nulls": {"temp": "drop"}},
        {"features": ("distance", "city")},
    ],
)
def test_each_field_that_can_change_rows_changes_the_fingerprint(loaded: Store, change: dict[str, object]) -> None:
    assert plan(loaded, late_trips(**change)).fingerprint != plan(loaded, late_trips()).fingerprint


def test_limits_and_the_name_do_not_change_the_fingerprint(loaded: Store) -> None:
    other = late_trips(name="other", expect=Expectations(rows_min=3))
    assert plan(loaded, other).fingerprint == plan(loaded, late_trips()).fingerprint


def test_an_input_that_does_not_exist_is_named_by_its_alias(loaded: Store) -> None:
    with pytest.raises(DatasetNotFoundError, match=r"the input 'weather' of late_trips: .*wether"):
        plan(loaded, late_trips(inputs={"trips": "trips", "weather": "wether"}))
    with pytest.raises(VersionNotFoundError, match=r"the input 'trips' of late_trips: .*9"):
        plan(loaded, late_trips(), versions={"trips": "9"})


def test_an_unknown_alias_and_another_dataset_are_refused(loaded: Store) -> None:
    with pytest.raises(UsageError, match=r"no input 'wether'.*did you mean 'weather'"):
        plan(loaded, late_trips(), versions={"wether": "1"})
    with pytest.raises(UsageError, match="the input 'trips' of late_trips is trips, not weather"):
        plan(loaded, late_trips(), versions={"trips": "weather@1"})


def test_a_dataset_cannot_be_made_from_itself(loaded: Store) -> None:
    with pytest.raises(UsageError, match="trips cannot be made from itself"):
        plan(loaded, late_trips(name="trips"))


def test_the_name_of_a_loaded_dataset_is_refused(loaded: Store) -> None:
    loaded.load("late_trips", trips(3))
    with pytest.raises(UsageError, match=r"late_trips@1-\w+ was loaded"):
        plan(loaded, late_trips())


@pytest.mark.parametrize("splits", [late_trips().splits, CutSplits({"train": "< 2026-03-02", "val": "rest"})])
def test_a_plan_survives_its_json(loaded: Store, splits: HashSplits | CutSplits) -> None:
    made = plan(loaded, late_trips(splits=splits, expect=Expectations(target_share=(0.1, 0.9))))
    assert PreparePlan.from_json(made.to_json()) == made


@pytest.mark.parametrize(
    "splits",
    [
        HashSplits({"train": 0.6, "val": 0.2, "test": 0.2}),
        CutSplits({"train": "< 2026-03-01T04:00", "val": "< 2026-03-01T08:00", "test": "rest"}),
    ],
)
def test_json_with_sorted_keys_keeps_the_order_of_splits_inputs_and_rules(
    loaded: Store, splits: HashSplits | CutSplits
) -> None:
    declared = late_trips(
        inputs={"trips": "trips", "weather": "weather", "a": "weather"},
        known={"weather": "weather_known_at", "a": "always"},
        nulls={"temp": "mean", "distance": "drop"},
        splits=splits,
    )
    made = plan(loaded, declared)
    read = PreparePlan.from_json(json.loads(json.dumps(made.to_json(), sort_keys=True)))
    assert read == made
    assert json.dumps(read.preparation.row_fields()) == json.dumps(declared.row_fields())
    assert list(read.inputs) == ["trips", "weather", "a"]


def test_the_order_of_the_inputs_counts_because_the_first_is_the_main_input() -> None:
    swapped = late_trips(inputs={"weather": "weather", "trips": "trips"})
    assert json.dumps(swapped.row_fields(), sort_keys=True) != json.dumps(late_trips().row_fields(), sort_keys=True)


@pytest.mark.parametrize("seed", [-1, 2**63, True, 1.5, "7"])
def test_a_seed_that_is_no_whole_number_of_64_bits_is_refused(loaded: Store, seed: object) -> None:
    with pytest.raises(UsageError, match="the seed of late_trips is "):
        plan(loaded, late_trips(seed=seed))


def test_a_version_of_the_call_may_be_a_number(loaded: Store) -> None:
    assert plan(loaded, late_trips(), versions={"trips": 1}).inputs["trips"] == loaded.version("trips@1").reference
