"""The preparation of the small world of ``tests/unit/training/prepare/trips.py`` on real services."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from millrace.api import Store
from millrace.load import LoadReport
from millrace.training.prepare import Preparation, make_prepare_plan
from tests.unit.training.prepare.trips import LATE_TRIPS, trips, weather

ROWS = 20_000


def load_inputs(store: Store, prefix: str, *, rows: int = ROWS) -> None:
    """Load the trips and the weather under names with a prefix."""
    store.load(f"{prefix}_trips", trips(rows))
    store.load(f"{prefix}_weather", weather(rows // 60 + 1))


def preparation_of(prefix: str, name: str, **changes: Any) -> Preparation:
    """Return the preparation of these inputs."""
    inputs: Mapping[str, str] = {"trips": f"{prefix}_trips", "weather": f"{prefix}_weather"}
    return replace(LATE_TRIPS, **{"name": name, "inputs": inputs, **changes})


def prepare(store: Store, preparation: Preparation, *, run: str) -> LoadReport:
    """Prepare as the tasks of a run do."""
    plan = make_prepare_plan(store.catalogue, preparation, run=run)
    if plan.is_done:
        return store.prepared_before(plan)
    return store.publish_preparation(plan, store.write_preparation(plan))
