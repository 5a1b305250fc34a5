"""Metrics of a model, each beside that of its baseline; ``sse_bridge/static/model_metrics.js`` has the same rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from millrace.progress.formatting import significant

_BASELINE: Final = "baseline_"
"""How the names of the metrics of a simple rule begin."""


@dataclass(frozen=True, slots=True)
class MetricLine:
    """A metric as text: ``test_auc`` and ``0.7172 (baseline 0.6621)``."""

    name: str
    value: float
    baseline: float | None

    @property
    def text(self) -> str:
        """The value, beside that of the baseline if it has one."""
        beside = "" if self.baseline is None else f" (baseline {significant(self.baseline)})"
        return f"{significant(self.value)}{beside}"


def metric_lines(metrics: Mapping[str, float]) -> list[MetricLine]:
    """Return the metrics of the model in their order, and metrics of the baseline that compare with none of them."""
    return [
        MetricLine(name, value, metrics.get(f"{_BASELINE}{name}"))
        for name, value in metrics.items()
        if not (name.startswith(_BASELINE) and name.removeprefix(_BASELINE) in metrics)
    ]
