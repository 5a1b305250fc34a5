"""The report of a training: metrics beside their baseline, as text, HTML and JSON."""

from __future__ import annotations

import json
from dataclasses import replace

from millrace.training.models import ModelReport

REPORT = ModelReport(
    dataset="late_arrivals_model",
    version="3-1a2b3c",
    run="late_arrivals_model-77aa",
    data="late_arrivals@3-4d5e6f",
    function="late_arrivals:train",
    seed=7,
    metrics={"val_auc": 0.72, "baseline_val_auc": 0.66, "epoch": 4.0},
    files=("metrics.json", "weights.npz"),
    bytes=2_000,
    best=True,
    seconds=12.5,
    started="2026-11-30T10:00:00.000+00:00",
    total_rows=2,
    warnings=("the metrics have no test",),
)


def test_the_text_has_each_metric_beside_its_baseline() -> None:
    lines = [" ".join(line.split()) for line in REPORT.text.splitlines()]
    assert lines[0] == "late_arrivals_model@3-1a2b3c"
    assert "val_auc 0.7200 (baseline 0.6600)" in lines
    assert "epoch 4" in lines
    assert "data late_arrivals@3-4d5e6f" in lines
    assert "tag best" in lines
    assert "warning the metrics have no test" in lines
    assert not any(line.startswith("baseline_") for line in lines)


def test_the_baseline_has_the_names_of_the_metrics() -> None:
    assert REPORT.baseline == {"val_auc": 0.66}


def test_json_is_read_back() -> None:
    document = json.loads(json.dumps(REPORT.to_json()))
    assert (document["report"], document["state"], document["degraded"]) == ("model", "succeeded", False)
    assert document["baseline"] == {"val_auc": 0.66}
    assert ModelReport.from_json({**document, "later": 1}) == REPORT


def test_a_skipped_run_says_why() -> None:
    report = replace(REPORT, skipped="unchanged", best=False)
    assert report.state == "skipped"
    text = " ".join(report.text.split())
    assert "state skipped (unchanged)" in text
    assert "written nothing: a version of this data, function and seed exists" in text


def test_a_notebook_shows_a_table() -> None:
    assert "Training of late_arrivals_model@3-1a2b3c" in REPORT._repr_html_()
    assert repr(REPORT).startswith("<ModelReport late_arrivals_model@3-1a2b3c of late_arrivals@3-4d5e6f: val_auc")
