"""The report: its JSON, the allowed names, and the printed table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.ratios import RATIOS
from bench.report import Report, machine, versions
from millrace.errors import InvalidSettingError


def filled() -> Report:
    report = Report("load")
    report.add("Millrace from CSV", 1_234_567.8, "rows/s", peak_rss_bytes=400_000_000)
    report.add("chunks", 32, "chunks")
    report.ratio("load_vs_dsbulk", 1_234_567.8, 15_000)
    return report


def test_the_json_has_exactly_the_expected_keys_and_bare_numbers() -> None:
    document = filled().to_json()
    assert list(document) == ["name", "machine", "versions", "rows", "ratios"]
    assert document["rows"] == [
        {"what": "Millrace from CSV", "value": 1234568, "unit": "rows/s", "peak_rss_bytes": 400_000_000},
        {"what": "chunks", "value": 32, "unit": "chunks"},
    ]
    assert document["ratios"] == {"load_vs_dsbulk": 82.3}
    assert document["name"] == "load"


def test_machine_and_versions_record_the_environment_of_the_numbers() -> None:
    assert machine()["cores"] >= 1
    assert machine()["memory_bytes"] > 0
    assert machine()["cpu"]
    assert {"python", "pyarrow", "cassandra-driver", "isal"} <= set(versions())
    report = filled()
    report.extra_versions["cassandra"] = "5.0.9"
    assert report.to_json()["versions"]["cassandra"] == "5.0.9"


def test_it_is_written_whole_and_readable(tmp_path: Path) -> None:
    path = filled().write(tmp_path / "bench")
    assert path == tmp_path / "bench" / "load.json"
    assert json.loads(path.read_text())["ratios"] == {"load_vs_dsbulk": 82.3}
    assert [entry.name for entry in path.parent.iterdir()] == ["load.json"]


def test_a_ratio_above_one_means_ours_is_better_and_an_unknown_name_is_refused() -> None:
    report = Report("read")
    assert report.ratio("read_vs_ceiling", 5.0, 4.0) == 1.25
    with pytest.raises(InvalidSettingError, match="read_vs_luck"):
        report.ratio("read_vs_luck", 1, 1)
    assert {"load_vs_dsbulk", "load_vs_local_parquet", "read_vs_local_parquet", "read_vs_arcticdb"} <= RATIOS


@pytest.mark.parametrize("theirs", [0.0, -1.0])
def test_a_ratio_to_zero_or_less_is_refused(theirs: float) -> None:
    with pytest.raises(InvalidSettingError, match="read_vs_ceiling"):
        Report("read").ratio("read_vs_ceiling", 1, theirs)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_value_that_json_cannot_hold_is_refused(value: float) -> None:
    with pytest.raises(InvalidSettingError, match="rows"):
        Report("read").add("rows", value, "rows/s")


def test_the_table_aligns_its_columns_and_ends_with_ratios_and_notes() -> None:
    report = filled()
    report.notes.append("one note")
    lines = report.table().splitlines()
    assert lines[0] == "load"
    assert lines[1].endswith("peak memory")
    assert lines[2].startswith("Millrace from CSV  1,234,568  rows/s")
    assert lines[2].endswith("400 MB")
    assert lines[3].startswith("chunks                    32  chunks")
    assert "load_vs_dsbulk  82.3" in lines
    assert lines[-1] == "one note"
    assert not any(line.endswith(" ") for line in lines)


def test_an_aim_is_shown_beside_its_figure_and_in_the_notes_and_ratios_stay_bare_numbers() -> None:
    report = Report("read")
    report.ratio("read_vs_ceiling", 79, 100, aim=0.8)
    report.ratio("read_vs_arcticdb", 3, 2)
    report.number("longest_pause_killed_s", 0.5, at_most=1)
    report.number("throughput_after", 0.6, at_least=0.7)
    report.add("show", 2.5, "s", peak_rss_bytes=300_000_000, at_most=1, peak_at_most=400_000_000)
    lines = report.table().splitlines()
    assert lines[2] == "show  2.5  s       300 MB  aim at most 1 s: missed; aim at most 400 MB: met"
    assert lines[4:] == [
        "read_vs_ceiling         0.79  aim at least 0.8: missed",
        "read_vs_arcticdb        1.5",
        "longest_pause_killed_s  0.5   aim at most 1: met",
        "throughput_after        0.6   aim at least 0.7: missed",
    ]
    document = report.to_json()
    assert document["rows"] == [{"what": "show", "value": 2.5, "unit": "s", "peak_rss_bytes": 300_000_000}]
    assert document["ratios"] == {
        "read_vs_ceiling": 0.79,
        "read_vs_arcticdb": 1.5,
        "longest_pause_killed_s": 0.5,
        "throughput_after": 0.6,
    }
    assert "read_vs_ceiling: aim at least 0.8: missed" in document["notes"]
    assert "show: aim at most 400 MB: met" in document["notes"]


def test_an_aim_is_judged_before_the_figure_is_rounded() -> None:
    report = Report("read")
    report.ratio("read_vs_ceiling", 0.79999, 1, aim=0.8)
    assert report.ratios == {"read_vs_ceiling": 0.8}
    assert report.aims == {"read_vs_ceiling": "aim at least 0.8: missed"}


def test_a_nonzero_count_that_must_be_zero_is_a_failure_and_a_missed_aim_is_not() -> None:
    report = Report("traffic")
    report.must_be_zero("failed_reads", 0)
    report.ratio("total_vs_one", 1, 2, aim=0.8)
    assert report.failures == []
    report.must_be_zero("failed", 3)
    assert report.failures == ["failed is 3"]
    assert report.ratios["failed"] == 3
