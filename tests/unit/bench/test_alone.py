"""Reading each node alone: stop one, read everything, start it again whatever the result; then the other."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import bench.alone
from bench.alone import each_node_alone
from bench.contestant import Outcome
from bench.options import Options
from millrace.errors import StackError

VERSIONS: Any = {"flights": SimpleNamespace(label="1-abcdef", rows=7)}


class Nodes:
    """A stack that records the calls to it, and a process that returns a fixed outcome."""

    def __init__(self, label: str = "1-abcdef", rows: int = 7) -> None:
        self.order: list[str] = []
        self.environment: dict[str, str] = {}
        self.stack = SimpleNamespace(
            down=lambda names: self.order.append(f"down {names[0]}"), up=lambda names: self.order.append("up")
        )
        self._answer = Outcome(1.0, rows, 1, {"version": label})

    def of(self, name: str, *_work: Any, **_job: Any) -> Any:
        self.order.append(name)
        return SimpleNamespace(ask=lambda: self._answer, close=lambda: None)


def read(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench.alone, "Contestant", nodes)
    each_node_alone(nodes, Options(quiet=True), Path("source"), VERSIONS)  # type: ignore[arg-type]


def test_each_node_is_stopped_in_turn_and_a_new_process_reads_from_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = Nodes()
    read(nodes, monkeypatch)
    assert nodes.order == [
        "down cassandra-1",
        "flights from cassandra-2 alone",
        "up",
        "down cassandra-2",
        "flights from cassandra-1 alone",
        "up",
    ]


@pytest.mark.parametrize(("label", "rows"), [("0-abcdef", 7), ("1-abcdef", 6)])
def test_an_older_version_or_fewer_rows_are_an_error_and_the_node_is_started_again(
    label: str, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = Nodes(label, rows)
    with pytest.raises(StackError, match="cassandra-2 alone serves flights"):
        read(nodes, monkeypatch)
    assert nodes.order[-1] == "up"
