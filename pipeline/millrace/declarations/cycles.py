"""Find the cycles that the entries of a file make."""

from __future__ import annotations

from collections.abc import Iterable
from graphlib import CycleError, TopologicalSorter

from millrace.declarations.error_text import Problem


def cycle_problem(made_from: Iterable[tuple[str, Iterable[str]]]) -> Problem | None:
    """Return the problem of a cycle among datasets; each pair has a dataset and those that are made before it."""
    datasets: TopologicalSorter[str] = TopologicalSorter()
    for dataset, earlier in made_from:
        datasets.add(dataset, *earlier)
    try:
        datasets.prepare()
    except CycleError as error:
        return Problem(f"makes a cycle: {' → '.join(error.args[1])}", "remove one of them")
    return None
