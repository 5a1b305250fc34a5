"""The races of a shape: which contestants a figure compares, and what a wrong row does."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.contestant import Outcome
from bench.options import Options
from bench.report import Report
from bench.training import shape_race
from bench.training.contestants import PEERS, Starters
from bench.training.figures import Figures
from bench.training.shape_race import ShapeRace
from millrace.errors import StackError

RATES = {
    "Millrace, stored, 256": 200.0,
    "Millrace, raw, 256": 400.0,
    "Millrace, decoded, 256": 1000.0,
    "Millrace, stored, 4096": 220.0,
    "Millrace, raw, 4096": 330.0,
    "Millrace, decoded, 4096": 1200.0,
    "Parquet, gzip, binary, 256": 80.0,
    "Parquet, gzip, lists, 256": 100.0,
    "Parquet, plain, binary, 256": 200.0,
    "memmap, 256": 500.0,
    "probe, gzip, 256": 100.0,
    "probe, raw, 256": 500.0,
    "probe, decoded, 256": 1000.0,
    "litdata, 0 workers": 100.0,
    "litdata, 2 workers": 50.0,
    "Millrace, cold, 256": 100.0,
    "Millrace, to_batches": 100.0,
    "Cassandra rows, 256": 10.0,
}
STARTS = {"first_s": 0.1, "resume_s": 0.2, "p99_s": 0.004, "gap_s": 0.03}


class Machine:
    """Contestants that are not started; ``check_facts`` are those of the check of each."""

    def __init__(self) -> None:
        self.check_facts: dict[str, dict[str, Any]] = {}

    def ask(self, name: str) -> Outcome:
        return Outcome(1.0, 100, 0, dict(self.check_facts.get(name, {})))

    def started(self, starters: Starters, _stack: ExitStack, check: Any = None) -> list[Any]:
        started = []
        for name in starters:
            if name.startswith("annbatch"):
                raise StackError("annbatch could not be installed for comparison")
            contestant = SimpleNamespace(name=name, ask=lambda _what, name=name: self.ask(name), close=lambda: None)
            if check is not None:
                check(contestant)
            started.append(contestant)
        return started

    def race(self, started: Sequence[Any], runs: int, **_how: Any) -> dict[str, list[Outcome]]:
        facts = {"cpu_s": 1.0, "nodes_cpu_s": 1.0, "others_cpu_s": 0.5, "delivered_bytes": 1e9, "configuration": "set"}
        rows = {contestant.name: RATES.get(contestant.name, 100.0) for contestant in started}
        facts |= STARTS
        return {name: [Outcome(1.0, int(rate), 7_000_000, dict(facts))] * runs for name, rate in rows.items()}


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    fake = Machine()
    monkeypatch.setattr(shape_race, "_started", fake.started)
    monkeypatch.setattr(shape_race, "race", fake.race)
    consumer = SimpleNamespace(name="a consumer at half speed", close=lambda: None)
    monkeypatch.setattr(shape_race, "waits", lambda *_args, **_how: consumer)
    return fake


def raced(probe: Path | None = None) -> tuple[Report, dict[str, float]]:
    settings = SimpleNamespace(cassandra=SimpleNamespace(contact_points=("a",), port=1, local_dc="dc", keyspace="k"))
    process = SimpleNamespace(pid=1)
    redis = SimpleNamespace(process=process, delete=lambda _pattern: None, cpu_seconds=lambda: 0.0, socket="redis.sock")
    shape: Any = SimpleNamespace(
        shape="floats",
        samples=SimpleNamespace(folder="samples"),
        on=SimpleNamespace(environment={}, settings=settings, cpu_seconds=lambda: 0.0),
        redis=redis,
        folder=Path("files"),
        datasets={"stored": "a", "raw": "b"},
        chosen="raw",
        version=SimpleNamespace(raw_bytes=1000),
        chunk_rows=10,
        nodes=[2, 3],
        warm={},
    )
    report, figures = Report("training"), Figures()
    ShapeRace(shape, Options(runs=2, quiet=True, probe=probe), report, figures).run()
    figures.report(report)
    return report, report.ratios


@pytest.mark.usefixtures("machine")
def test_each_figure_compares_the_contestants_of_its_name() -> None:
    _, ratios = raced(Path("probe.py"))
    assert ratios["training_warm_vs_parquet_floats"] == 2.0
    assert ratios["training_warm_vs_parquet_plain_floats"] == 2.0
    assert ratios["training_warm_vs_memmap_floats"] == 2.0
    assert ratios["training_raw_vs_stored_floats"] == 1.5
    assert ratios["training_cpu_vs_parquet_floats"] == 1.0
    assert ratios["training_vs_probe_floats"] == 0.8
    assert ratios["training_warm_vs_litdata_floats"] == 4.0
    assert ratios["training_cold_vs_rows_floats"] == 1.0
    assert ratios["training_cold_vs_read_floats"] == 1.0
    assert ratios["first_batch_ms_floats"] == 100
    assert ratios["resume_vs_start_floats"] == 0.5
    assert ratios["wait_p99_ms_floats"] == 4
    assert ratios["epoch_gap_ms_floats"] == 30


@pytest.mark.usefixtures("machine")
def test_a_peer_that_cannot_be_installed_is_a_note_and_has_no_figure() -> None:
    report, ratios = raced()
    assert "training_warm_vs_annbatch" not in ratios
    assert "training_vs_probe" not in ratios
    assert {f"training_warm_vs_{peer.name}" for peer in PEERS} - ratios.keys() == {"training_warm_vs_annbatch"}
    assert any("annbatch could not be installed" in note for note in report.notes)


@pytest.mark.usefixtures("machine")
def test_every_rate_has_the_peak_memory_beside_it() -> None:
    report, _ = raced()
    rates = [row for row in report.rows if row.unit in ("rows/s", "ms")]
    assert rates
    assert all(row.peak_rss_bytes == 7_000_000 for row in rates)
    assert len({row.what for row in report.rows}) == len(report.rows)


def test_a_wrong_row_and_a_row_that_millrace_repeats_are_failures(machine: Machine) -> None:
    machine.check_facts = {
        "Parquet, gzip, binary, 256": {"wrong": 3, "repeated": 0, "missing": 0, "spread": 0.3},
        "Millrace, raw, 256": {"wrong": 0, "repeated": 2, "missing": 2, "spread": 0.3},
        "lancedb, 2 workers": {"wrong": 0, "repeated": 0, "missing": 1, "spread": 0.3},
    }
    report, _ = raced()
    assert report.failures[0] == "floats: Millrace, raw, 256: of 100 rows 2 came twice and 2 never"
    assert "floats: Parquet, gzip, binary, 256: 3 rows are not those of their number" in report.failures
    assert all(failure.startswith(("floats: Millrace", "floats: Parquet")) for failure in report.failures)
    assert "floats: lancedb, 2 workers: of 100 rows 0 came twice and 1 never" in report.notes


def test_the_settings_of_a_contestant_are_a_note_with_the_spread_of_its_batches(machine: Machine) -> None:
    machine.check_facts = {"memmap, 256": {"wrong": 0, "repeated": 0, "missing": 0, "spread": 0.333}}
    report, _ = raced()
    assert "floats: memmap, 256: set; two rows of a batch are 33.3% of the data apart." in report.notes
    assert "floats: memmap, 4096: set." in report.notes
