"""The figures of ``bench training``: each is the worst of the shapes and batch sizes, with each shape beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bench.report import Report

__all__ = ["FIGURES", "Figure", "Figures"]


@dataclass(frozen=True, slots=True)
class Figure:
    """A key of the report. A ratio has a least value, a time a greatest one; some have none, and are shown.

    ``shape_aims`` are the aims of single shapes, where they differ.
    """

    name: str
    at_least: float | None = None
    at_most: float | None = None
    shape_aims: Mapping[str, float] = field(default_factory=dict)
    is_time: bool = False

    def worst(self, values: Sequence[float]) -> float:
        """Return the least ratio, or the longest time."""
        return max(values) if self.is_time else min(values)


def _time(name: str, at_most: float) -> Figure:
    return Figure(name, at_most=at_most, is_time=True)


_FAST = {"floats": 10.0}
FIGURES = {
    figure.name: figure
    for figure in (
        Figure("training_warm_vs_parquet", 1.1),
        Figure("training_warm_vs_parquet_plain"),
        Figure("training_warm_vs_litdata", 1.0, shape_aims=_FAST),
        Figure("training_warm_vs_lancedb", 1.0, shape_aims=_FAST),
        Figure("training_warm_vs_mosaicml", 1.0, shape_aims=_FAST),
        Figure("training_warm_vs_webdataset", 1.0, shape_aims=_FAST),
        Figure("training_warm_vs_redis_samples", 1.0, shape_aims=_FAST),
        Figure("training_warm_vs_annbatch"),
        Figure("training_warm_vs_memmap", 0.9, shape_aims={"floats": 1.0}),
        Figure("training_vs_probe", 0.9),
        Figure("training_cold_vs_rows", 10),
        Figure("training_cold_vs_read", 0.9),
        Figure("training_raw_vs_stored", shape_aims={"floats": 1.5}),
        Figure("training_cpu_vs_parquet", 1.1),
        Figure("resume_vs_start", 0.8),
        _time("first_batch_ms", 150),
        _time("epoch_gap_ms", 50),
        _time("wait_p99_ms", 5),
    )
}


class Figures:
    """The values of each figure by shape."""

    def __init__(self) -> None:
        self._values: dict[str, dict[str, list[float]]] = {name: {} for name in FIGURES}

    def add(self, name: str, shape: str, value: float) -> None:
        """Add the value of one comparison; a shape may have several, of which the worst counts."""
        self._values[name].setdefault(shape, []).append(value)

    def report(self, report: Report) -> None:
        """Record each figure that has values, and those of its shapes."""
        for name, by_shape in self._values.items():
            if by_shape:
                figure = FIGURES[name]
                worst = {shape: figure.worst(values) for shape, values in by_shape.items()}
                report.number(name, figure.worst([*worst.values()]), at_least=figure.at_least, at_most=figure.at_most)
                for shape, value in worst.items():
                    at_least = figure.shape_aims.get(shape, figure.at_least)
                    report.number(f"{name}_{shape}", value, at_least=at_least, at_most=figure.at_most)
