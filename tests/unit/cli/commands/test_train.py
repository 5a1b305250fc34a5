"""``millrace train`` and ``millrace report`` of a training, on an in-memory cluster."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from millrace.api import Store
from millrace.cli.app import run
from millrace.dataset import with_splits
from millrace.errors import UsageError
from millrace.settings import Settings
from tests.unit.store.in_memory import cassandra, settings, store
from tests.unit.training.models.small import small_recipe

__all__ = ["cassandra", "settings", "store"]

TRAINER = """
from millrace.training import TrainedModel

def train(job):
    if job.seed == 13:
        raise ValueError("no luck")
    return TrainedModel({"val_auc": 0.5 + job.seed / 10, "baseline_val_auc": 0.5}, {"weights": b"1"})
"""


@pytest.fixture(autouse=True)
def declared(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Let every command connect to the in-memory store with a prepared dataset, and declare its function."""
    asked: list[Any] = []
    (tmp_path / "command_trainer.py").write_text(TRAINER)

    def find_training(name: str, _settings: Settings, *, file: str | None = None) -> Any:
        asked.append(file)
        if name != "late_arrivals":
            raise UsageError(f"there is no entry {name!r}")
        return SimpleNamespace(trainer=("command_trainer", "train"), folder=tmp_path)

    monkeypatch.setattr("millrace.declarations.find_training", find_training, raising=False)
    monkeypatch.setattr(Store, "connect", lambda _settings: store)
    monkeypatch.setenv("MILLRACE_KAFKA__BOOTSTRAP_SERVERS", "")
    kafka = store.settings.kafka.model_copy(update={"bootstrap_servers": ""})
    store.settings = store.settings.model_copy(update={"kafka": kafka})
    table = pa.table({"x": np.arange(100.0), "target": np.arange(100) > 50})
    schema = with_splits(small_recipe().with_recipe(table.schema), {"train": range(1)})
    store.load("late_arrivals", table.cast(schema))
    return asked


def test_a_model_is_trained_shown_and_found_again_by_its_run(
    store: Store, declared: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["train", "late_arrivals", "--seed", "2", "--file", "my.yaml", "--run-id", "night", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert declared == ["my.yaml"]
    assert (report["report"], report["dataset"], report["seed"]) == ("model", "late_arrivals_model", 2)
    assert (report["metrics"]["val_auc"], report["baseline"], report["best"]) == (0.7, {"val_auc": 0.5}, True)
    assert run(["report", "night"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "val_auc 0.7000 (baseline 0.5000)" in shown
    assert f"data {store.version('late_arrivals').reference}" in shown
    assert run(["report", "night", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"] == report["metrics"]


def test_a_repetition_is_skipped_unless_it_is_forced(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    for options, versions in (([], 1), ([], 1), (["--force"], 2), (["--version", "1"], 2)):
        assert run(["train", "late_arrivals", *options]) == 0
        assert len(store.versions("late_arrivals_model")) == versions
    assert "skipped (unchanged)" in " ".join(capsys.readouterr().out.split())


def test_an_unknown_entry_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "early_arrivals"]) == 2
    assert capsys.readouterr().err == "millrace: there is no entry 'early_arrivals'\n"


def test_a_function_that_fails_is_one_line_with_its_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "late_arrivals", "--seed", "13"]) == 1
    assert capsys.readouterr().err == (
        f"millrace: the training function of late_arrivals failed at {tmp_path / 'command_trainer.py'}:6 with "
        "ValueError: no luck: MILLRACE_DEBUG=1 shows the calls\n"
    )
