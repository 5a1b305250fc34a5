"""Describe the training that ranks report in their metrics: each rank alone, and all ranks of a run together.

Pure. ``sse_bridge/static/training.js`` follows the same rules; ``tests/unit/sse_bridge/test_page_rules.py`` compares
both.

A rank reports these metrics, and any others, such as losses:

* ``epoch`` (from 1), ``step`` (in the epoch) and ``steps`` (of an epoch);
* ``wait_p50_ms`` and ``wait_p99_ms``: how long the loop waits for a batch;
* ``chunks_process``, ``chunks_redis`` and ``chunks_cassandra``: the chunks read from each tier;
* ``world_size`` and ``prefetch_bytes``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from millrace.progress.formatting import amount, significant
from millrace.progress.merge import TaskState

Metrics = dict[str, float | None]

_POSITION: Final = ("epoch", "step", "steps")
_WAITS: Final = {"wait_p50_ms": "wait p50", "wait_p99_ms": "wait p99"}
_TIERS: Final = {"chunks_process": "process", "chunks_redis": "Redis", "chunks_cassandra": "Cassandra"}
_NOT_SHOWN: Final = ("world_size", "prefetch_bytes")
_OWN: Final = frozenset({*_POSITION, *_WAITS, *_TIERS, *_NOT_SHOWN})


def training_facts(tasks: Sequence[TaskState]) -> list[tuple[str, str]]:
    """Return label and value of each line that describes the training of a run; empty if no task trains.

    With several ranks, the lines are: the ranks that report, the sum of their rates, the step of the slowest rank,
    the longest waits, the chunks of all ranks by tier, and the mean of every other metric.
    """
    ranks = ranks_of(tasks)
    if not ranks:
        return []
    metrics, several = metrics_of_all(ranks), len(ranks) > 1
    lines = [(_label(name, several), value) for name, value in lines_of(metrics)]
    return [*_rank_line(ranks, metrics), *_rate_line(ranks), *lines]


def _rank_line(ranks: Sequence[TaskState], metrics: Metrics) -> list[tuple[str, str]]:
    world = metrics.get("world_size") or 0
    if len(ranks) > 1:
        return [("ranks", f"{amount(len(ranks))} of {amount(max(world, len(ranks)))}")]
    return [("rank", f"{ranks[0].key[3]}, world size {amount(world)}")] if world > 1 else []


def _rate_line(ranks: Sequence[TaskState]) -> list[tuple[str, str]]:
    running = [task for task in ranks if task.state == "running"] or ranks
    rate, unit = sum(float(task.data.get("rate") or 0) for task in running), ranks[0].data.get("unit", "")
    return [(f"{unit}/s", amount(rate))] if rate and unit else []


def training_notes(metrics: Metrics) -> list[str]:
    """Return the metrics of one rank as short texts: ``step 40 of 125``, ``wait p99 3.2 ms``, ``loss 0.3127``."""
    return [f"{name} {value}" for name, value in lines_of(metrics)]


def training_position(tasks: Sequence[TaskState]) -> str:
    """Return epoch and step of the slowest rank: ``epoch 1 of 3, step 40 of 125``; empty without a step."""
    ranks = ranks_of(tasks)
    slowest = _slowest(ranks).data if ranks else {}
    step = _step(slowest.get("metrics", {}))
    return ", ".join(filter(None, (slowest["phase"], f"step {step}"))) if step else ""


def ranks_of(tasks: Sequence[TaskState]) -> list[TaskState]:
    """Return the tasks that train. After a resume on fewer ranks those of the larger world before are left out."""
    ranks = [task for task in tasks if task.data.get("kind") == "train" and task.data.get("metrics")]
    if not ranks:
        return []
    newest = max(ranks, key=lambda task: task.sent_s or 0)
    world = newest.data["metrics"].get("world_size") or math.inf
    return [task for task in ranks if task.key[3] < world]


def metrics_of_all(ranks: Sequence[TaskState]) -> Metrics:
    """Return one value for each metric that a rank reports; ``None`` for a mean with a value that is not finite."""
    names = dict.fromkeys(name for task in ranks for name in task.data["metrics"])
    slowest = _slowest(ranks).data["metrics"]
    return {name: slowest.get(name) if name in _POSITION else _combined(name, ranks) for name in names}


def _combined(name: str, ranks: Sequence[TaskState]) -> float | None:
    values = [task.data["metrics"][name] for task in ranks if name in task.data["metrics"]]
    numbers = [float(value) for value in values if value is not None]
    if name in _TIERS:
        return sum(numbers)
    if name in _WAITS or name in _NOT_SHOWN:
        return max(numbers, default=None)
    return sum(numbers) / len(numbers) if len(numbers) == len(values) else None


def lines_of(metrics: Metrics) -> list[tuple[str, str]]:
    """Return name and value of each line that describes metrics: first the loader's own, then the others."""
    lines = [("step", step)] if (step := _step(metrics)) else []
    waits = [(name, metrics.get(key)) for key, name in _WAITS.items()]
    lines += [(name, f"{significant(milliseconds)} ms") for name, milliseconds in waits if milliseconds is not None]
    lines += [("chunks from", tiers)] if (tiers := _tiers(metrics)) else []
    return lines + [(name, significant(value)) for name, value in metrics.items() if name not in _OWN]


def _step(metrics: Metrics) -> str:
    step, steps = metrics.get("step"), metrics.get("steps")
    if step is None:
        return ""
    return amount(step) + (f" of {amount(steps)}" if steps else "")


def _tiers(metrics: Metrics) -> str:
    """Return the share of each tier in the chunks read; empty while none was read."""
    chunks = {name: float(metrics.get(key) or 0) for key, name in _TIERS.items()}
    total = sum(chunks.values())
    if not 0 < total < math.inf:
        return ""
    return ", ".join(f"{name} {significant(100 * count / total)} %" for name, count in chunks.items())


def _label(name: str, several: bool) -> str:
    if not several or name == "chunks from":
        return name
    return f"{'slowest' if name == 'step' else 'longest' if name in _WAITS.values() else 'mean'} {name}"


def _slowest(ranks: Sequence[TaskState]) -> TaskState:
    def position(task: TaskState) -> tuple[float, float]:
        metrics = task.data["metrics"]
        return metrics.get("epoch") or 0, metrics.get("step") or 0

    return min(ranks, key=position)
