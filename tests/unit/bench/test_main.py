"""The command: several benchmarks on one cluster, and an error at the end if a benchmark reports a failure."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

import bench.__main__ as command
import bench.cluster
from bench.cluster import Cluster
from bench.report import Report
from millrace.errors import StackError

Calls = list[str]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Calls:
    """Return the list of benchmarks run and clusters opened, in order; no benchmark does anything."""
    order: Calls = []

    @contextmanager
    def cluster() -> Iterator[None]:
        order.append("nodes up")
        yield
        order.append("nodes down")

    def module(name: str) -> Any:
        def run(_options: Any) -> Report:
            order.append(name.removeprefix("bench."))
            report = Report("traffic")
            if name == "bench.traffic":
                report.must_be_zero("failed", 2)
            return report

        return SimpleNamespace(run=run)

    monkeypatch.setattr(bench.cluster, "cluster", cluster)
    monkeypatch.setattr(command, "importlib", SimpleNamespace(import_module=module))
    monkeypatch.setattr(command, "bench_folder", lambda: tmp_path)
    return order


def test_several_benchmarks_share_their_nodes_in_the_order_given(calls: Calls) -> None:
    assert CliRunner().invoke(command.main, ["load", "read", "filter"]).exit_code == 0
    assert calls == ["nodes up", "load", "read", "filter", "nodes down"]


def test_a_benchmark_with_nodes_of_its_own_runs_after_the_others(calls: Calls) -> None:
    CliRunner().invoke(command.main, ["traffic", "load", "read", "load"])
    assert calls == ["nodes up", "load", "read", "nodes down", "traffic"]


def test_a_single_benchmark_brings_its_own_nodes(calls: Calls) -> None:
    CliRunner().invoke(command.main, ["load", "bridge"])
    assert calls == ["load", "bridge"]


def test_all_is_each_benchmark_once(calls: Calls) -> None:
    CliRunner().invoke(command.main, ["all"])
    assert sorted(calls) == sorted(["nodes up", "nodes down", *command.BENCHMARKS])


def test_a_failure_is_an_error_after_every_table_was_printed_and_written(calls: Calls, tmp_path: Path) -> None:
    result = CliRunner().invoke(command.main, ["traffic", "bridge"])
    assert isinstance(result.exception, StackError)
    assert "traffic: failed is 2" in str(result.exception)
    assert calls == ["traffic", "bridge"]
    assert (tmp_path / "traffic.json").exists()
    assert "failed  2" in result.output


class Recorded(Cluster):
    """A cluster that records its statements."""

    def __init__(self) -> None:
        super().__init__(SimpleNamespace(), SimpleNamespace(), SimpleNamespace())  # type: ignore[arg-type]
        self.statements: list[str] = []

    def execute(self, statement: str) -> None:
        self.statements.append(statement)


def test_a_dataset_is_loaded_once_until_the_products_tables_are_emptied() -> None:
    on, loads = Recorded(), []
    for _ in range(2):
        on.once("flights", lambda: loads.append("flights"))
    assert loads == ["flights"]
    on.empty("ceiling")
    on.once("flights", lambda: loads.append("flights again"))
    assert loads == ["flights"], "a table of a benchmark's own holds no datasets"
    on.empty("chunks", "ceiling")
    on.once("flights", lambda: loads.append("flights again"))
    assert loads == ["flights", "flights again"]


def test_a_nested_cluster_is_the_outer_one(monkeypatch: pytest.MonkeyPatch) -> None:
    outer = Recorded()
    monkeypatch.setattr(bench.cluster, "_joined", [outer])
    with bench.cluster.cluster() as inner:
        assert inner is outer


def test_a_table_like_chunks_has_their_options_and_the_clustering_asked_for() -> None:
    on = Recorded()
    on.create_like_chunks("ceiling")
    on.create_like_chunks("by_tile", clustering="tile, chunk")
    made = [statement for statement in on.statements if statement.startswith("CREATE")]
    assert "millrace_bench.ceiling (" in made[0]
    assert "PRIMARY KEY ((dataset, attempt_id, bucket), chunk, tile)" in made[0]
    assert made[1] == made[0].replace(".ceiling", ".by_tile").replace("chunk, tile)", "tile, chunk)")


@pytest.mark.parametrize(
    ("given", "shapes"), [([], ("floats", "images", "tokens")), (["--shapes", "tokens,floats"], ("tokens", "floats"))]
)
def test_the_shapes_of_training_data_are_all_or_those_given(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, given: list[str], shapes: tuple[str, ...]
) -> None:
    chosen: list[Any] = []

    def run(options: Any) -> Report:
        chosen.append(options.shapes)
        return Report("training")

    monkeypatch.setattr(command, "importlib", SimpleNamespace(import_module=lambda _name: SimpleNamespace(run=run)))
    monkeypatch.setattr(command, "bench_folder", lambda: tmp_path)
    assert CliRunner().invoke(command.main, ["training", *given]).exit_code == 0
    assert chosen == [shapes]


def test_an_unknown_shape_is_a_usage_error_that_lists_the_shapes() -> None:
    result = CliRunner().invoke(command.main, ["training", "--shapes", "floats,sounds"])
    assert result.exit_code == 2
    assert "'sounds' is no shape; there are floats, images, tokens" in result.output
