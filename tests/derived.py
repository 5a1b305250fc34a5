"""Versions that are made from others, as a preparation or a training run publishes them."""

from __future__ import annotations

from pathlib import Path

from millrace.api import Store
from millrace.load import LoadOptions, LoadPlan, make_plan
from millrace.names import new_run_id

__all__ = ["derived_plan", "made_from"]


def derived_plan(store: Store, name: str, path: str, *, run: str | None = None) -> LoadPlan:
    """Return the plan of a load into a dataset that is made from others, which ``Store.plan`` refuses."""
    run = new_run_id(name) if run is None else run
    return make_plan(store.catalogue, store.settings, name, path, LoadOptions(), run=run, one_stream=True, derived=True)


def made_from(store: Store, name: str, folder: Path, *inputs: str, run: str | None = None, rows: int = 3) -> str:
    """Publish a version of ``name`` that is made from these references, and return its full reference."""
    path = folder / f"{name}.csv"
    path.write_text("n\n" + "".join(f"{n}\n" for n in range(rows)))
    references = [store.version(reference).reference for reference in inputs]
    plan = derived_plan(store, name, str(path), run=run)
    result = store.load_split(plan, None)
    named = {reference.partition("@")[0]: reference for reference in references}
    report = store.publish(plan, [result], settings={"inputs": named})
    return f"{name}@{report.version}"
