"""The lines that describe a training; ``test_page_rules.py`` compares them with those of the page."""

from __future__ import annotations

from typing import Any

from millrace.progress import TaskState, ranks_of, training_facts, training_notes


def rank(map_index: int, state: str = "running", sent_s: float = 5.0, **metrics: float | None) -> TaskState:
    own = {"epoch": 1, "step": 40, "steps": 125, "world_size": 2, "wait_p50_ms": 0.4, "wait_p99_ms": 3.2}
    tiers = {"chunks_process": 4, "chunks_redis": 5, "chunks_cassandra": 1}
    data: dict[str, Any] = {"kind": "train", "unit": "rows", "rate": 6_000, "phase": "epoch 1"}
    data["metrics"] = {**own, **tiers, "loss": 0.25, **metrics}
    return TaskState(("python", "r", "train", map_index), 1, state, None, data, "s", sent_s)


def test_ranks_together_are_a_sum_the_slowest_the_longest_waits_and_means() -> None:
    second = rank(1, step=38, wait_p99_ms=7.5, chunks_redis=0, chunks_cassandra=10, loss=0.75)
    assert training_facts([rank(0), second]) == [
        ("ranks", "2 of 2"),
        ("rows/s", "12,000"),
        ("slowest step", "38 of 125"),
        ("longest wait p50", "0.4 ms"),
        ("longest wait p99", "7.5 ms"),
        ("chunks from", "process 33.33 %, Redis 20.83 %, Cassandra 45.83 %"),
        ("mean loss", "0.5"),
    ]


def test_a_rank_alone_is_described_by_its_own_metrics() -> None:
    assert training_notes(rank(0).data["metrics"]) == [
        "step 40 of 125", "wait p50 0.4 ms", "wait p99 3.2 ms",
        "chunks from process 40 %, Redis 50 %, Cassandra 10 %", "loss 0.25",
    ]  # fmt: skip
    assert training_facts([rank(0, world_size=1)])[0] == ("rows/s", "6,000")


def test_a_loss_that_is_not_finite_on_one_rank_is_not_averaged_away() -> None:
    assert training_facts([rank(0), rank(1, loss=None)])[-1] == ("mean loss", "not a number")


def test_a_rank_that_has_not_reported_yet_is_missed() -> None:
    assert training_facts([rank(0, world_size=3), rank(2, world_size=3)])[0] == ("ranks", "2 of 3")
    assert training_facts([rank(1)])[0] == ("rank", "1, world size 2")


def test_ranks_of_a_larger_world_before_a_resume_do_not_count() -> None:
    before = [rank(number, "lost", world_size=4) for number in range(4)]
    now = [rank(number, sent_s=9.0) for number in range(2)]
    assert ranks_of([*now, *before[2:]]) == now


def test_only_tasks_that_train_are_described() -> None:
    other = TaskState(("d", "r", "load", -1), 1, "running", None, {"kind": "load", "metrics": {"step": 1}}, "s")
    announced = TaskState(("d", "r", "train", -1), 1, "queued", None, {}, "")
    assert training_facts([other, announced]) == []
