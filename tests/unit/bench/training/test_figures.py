"""The figures: each is the worst of shapes and batch sizes, under names of the report."""

from __future__ import annotations

from bench.options import SHAPE_NAMES
from bench.ratios import RATIOS
from bench.report import Report
from bench.training.contestants import PEERS
from bench.training.figures import FIGURES, Figures


def reported(*values: tuple[str, str, float]) -> Report:
    figures, report = Figures(), Report("training")
    for name, shape, value in values:
        figures.add(name, shape, value)
    figures.report(report)
    return report


def test_every_figure_is_a_name_of_the_report_with_each_shape() -> None:
    assert all({name, *(f"{name}_{shape}" for shape in SHAPE_NAMES)} <= RATIOS for name in FIGURES)


def test_every_peer_has_a_figure() -> None:
    assert {f"training_warm_vs_{peer.name}" for peer in PEERS} <= FIGURES.keys()


def test_a_ratio_is_the_least_of_its_shapes_and_batch_sizes() -> None:
    name = "training_warm_vs_parquet"
    report = reported((name, "floats", 1.5), (name, "floats", 1.2), (name, "images", 1.05))
    assert report.ratios == {name: 1.05, f"{name}_floats": 1.2, f"{name}_images": 1.05}
    assert report.aims[name] == "aim at least 1.1: missed"
    assert report.aims[f"{name}_floats"] == "aim at least 1.1: met"


def test_a_time_is_the_longest_of_its_shapes() -> None:
    report = reported(("first_batch_ms", "floats", 120), ("first_batch_ms", "tokens", 160))
    assert report.ratios == {"first_batch_ms": 160, "first_batch_ms_floats": 120, "first_batch_ms_tokens": 160}
    assert report.aims["first_batch_ms"] == "aim at most 150: missed"


def test_a_shape_may_have_an_aim_of_its_own() -> None:
    report = reported(
        ("training_warm_vs_litdata", "floats", 8),
        ("training_warm_vs_litdata", "images", 2),
        ("training_raw_vs_stored", "floats", 1.6),
        ("training_raw_vs_stored", "images", 0.9),
    )
    assert report.aims["training_warm_vs_litdata"] == "aim at least 1: met"
    assert report.aims["training_warm_vs_litdata_floats"] == "aim at least 10: missed"
    assert report.aims["training_raw_vs_stored_floats"] == "aim at least 1.5: met"
    assert "training_raw_vs_stored" not in report.aims


def test_a_figure_without_values_is_left_out() -> None:
    assert reported().ratios == {}
