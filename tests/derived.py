"""Versions that are made from others, as a preparation or a training run publishes them."""

from __future__ import annotations

from pathlib import Path

from millrace.api import Store

__all__ = ["made_from"]


def made_from(store: Store, name: str, folder: Path, *inputs: str, run: str | None = None, rows: int = 3) -> str:
    """Publish a version of ``name`` that is made from these references, and return its full reference."""
    path = folder / f"{name}.csv"
    path.write_text("n\n" + "".join(f"{n}\n" for n in range(rows)))
    references = [store.version(reference).reference for reference in inputs]
    plan = store.plan(name, str(path), run=run, one_stream=True)
    result = store.load_split(plan, None)
    named = {reference.partition("@")[0]: reference for reference in references}
    report = store.publish(plan, [result], settings={"inputs": named})
    return f"{name}@{report.version}"
