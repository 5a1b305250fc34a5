"""``millrace sources``: the declared sources and all errors, without any service."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from local_stack.settings import CHECKOUT, PYTHON_PATH
from millrace.cli.app import run

BROKEN = """
defaults:
  keep: 3
sources:
  flights:
    uri: "{date:%Y}.csv"
    every: 1h
  planes:
    uri: https://key:geheim@example.org/planes.csv
  weather:
    uri: [a.csv, b.csv]
    schedule: "5 * *"
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_sources_of_the_checkout_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["sources"]) == 0
    output = capsys.readouterr()
    lines = [" ".join(line.split()) for line in output.out.splitlines()]
    assert "flights flights replace at 02:05 (America/New_York) flights.csv ok" in lines
    assert "weather weather replace after flights weather.csv ok" in lines
    assert output.err == ""


def test_a_broken_entry_is_an_error_and_the_others_are_listed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "own.yaml").write_text(BROKEN)
    assert run(["sources", "own.yaml"]) == 1
    output = capsys.readouterr()
    assert output.err.splitlines() == [
        "millrace: own.yaml:9: sources.planes.uri has a URI with credentials: remove them, and name a connection in "
        "the field connection",
        'millrace: own.yaml:12: sources.weather.schedule is "5 * *": give five fields',
    ]
    lines = [" ".join(line.split()) for line in output.out.splitlines()]
    assert "flights flights incremental every hour {date:%Y}.csv ok" in lines
    assert 'weather own.yaml:12: sources.weather.schedule is "5 * *": give five fields' in lines
    assert "geheim" not in output.out + output.err


def test_json_has_each_entry_and_each_error(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "own.yaml").write_text(BROKEN)
    assert run(["sources", "own.yaml", "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["file"] == "own.yaml"
    flights, planes, weather = document["sources"]
    assert flights == {
        "name": "flights",
        "dataset": "flights",
        "mode": "incremental",
        "schedule": "every hour",
        "uri": ["{date:%Y}.csv"],
        "state": "ok",
        "errors": [],
    }
    assert (planes["state"], planes["uri"]) == ("broken", None)
    assert weather["errors"] == ['own.yaml:12: sources.weather.schedule is "5 * *": give five fields']
    assert document["errors"][1] == {
        "message": weather["errors"][0],
        "file": "own.yaml",
        "line": 12,
        "field": "sources.weather.schedule",
    }


def test_a_file_that_is_not_yaml_is_one_error(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "own.yaml").write_text("sources:\n  a: [\n")
    assert run(["sources", "own.yaml"]) == 1
    output = capsys.readouterr()
    assert output.err == "millrace: own.yaml:3: this is not YAML: did not find expected node content\n"
    assert output.out == ""


def test_a_missing_file_is_one_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["sources", "none.yaml"]) == 1
    assert capsys.readouterr().err == "millrace: none.yaml cannot be read: no such file or directory\n"


def test_a_file_without_sources_is_no_error(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "own.yaml").write_text("sources: {}\n")
    assert run(["sources", "own.yaml"]) == 0
    assert capsys.readouterr().err == "no source is declared in own.yaml\n"


def test_the_setting_names_the_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "own.yaml").write_text("sources: {trips: {uri: a.csv}}\n")
    monkeypatch.setenv("MILLRACE_SOURCES__FILE", "own.yaml")
    assert run(["sources", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sources"][0]["name"] == "trips"


def test_neither_pyarrow_nor_the_client_of_a_service_is_imported() -> None:
    script = (
        "import json, sys\nfrom millrace.cli.app import run\ncode = run(['sources'])\n"
        "print(json.dumps([code, sorted(sys.modules)]))"
    )
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": PYTHON_PATH, "HOME": os.environ.get("HOME", "/")}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=True
    )
    code, modules = json.loads(done.stdout.splitlines()[-1])
    assert code == 0
    assert not {"pyarrow", "numpy", "cassandra", "redis", "confluent_kafka", "airflow", "pandas"} & set(modules)
